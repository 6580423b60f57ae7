"""Scores counted instead of kept: histograms that add up in any order, at any size.

A bin's width follows both the similarity and its log-odds. exp(−distance) crowds next to 0: with
bins of one width half of the pairs can fall into the first, and every curve would be lost there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

BINS = 10_000
LOGIT_SPAN = 16.0  # float32 cannot distinguish similarities that are nearer to 1 than its log-odds
SMALLEST = float(np.finfo(np.float32).eps)  # where scikit-learn clips float32 for the log loss


def place(similarity: np.ndarray, bins: int = BINS) -> np.ndarray:
    """The bin of each similarity: float [n] in 0…1 → int [n], rising with the similarity."""
    return np.minimum((_position(similarity) * bins).astype(np.int64), bins - 1)


def _position(similarity: np.ndarray) -> np.ndarray:
    # The mean of the similarity and of its log-odds, both on 0…1. Where either rises fast the mean
    # does too, by half as much: no bin is wider than two bins of equal width on either scale.
    value = np.clip(np.asarray(similarity, np.float64), 0, 1)
    with np.errstate(divide="ignore"):
        logit = np.log(value) - np.log1p(-value)
    spread = (np.clip(logit, -LOGIT_SPAN, LOGIT_SPAN) + LOGIT_SPAN) / (2 * LOGIT_SPAN)
    return (value + spread) / 2


@cache
def edges(bins: int = BINS) -> np.ndarray:
    """The similarities between which the bins lie: float64 [bins + 1], from 0 to 1."""
    # The inverse of `_position`, which has no closed form: interpolated on a fine grid of log-odds.
    grid = 1 / (1 + np.exp(-np.linspace(-LOGIT_SPAN, LOGIT_SPAN, 400_001)))
    between = np.interp(np.arange(1, bins) / bins, _position(grid), grid)
    return np.r_[0.0, between, 1.0]


@dataclass(frozen=True)
class ScoreHistogram:
    """Two-class scores by actual label, predicted label and bin of the similarity.

    Attributes:
        counts: rows, int64 [actual, predicted, bins].
        similarity: sum of the similarities in each bin, float64 [bins].
        log_loss: sum of −ln(probability given to the actual label), float64 [actual, bins].
    """

    counts: np.ndarray
    similarity: np.ndarray
    log_loss: np.ndarray

    @classmethod
    def count(
        cls,
        similarity: np.ndarray,
        actual: np.ndarray,
        predicted: np.ndarray,
        bins: int = BINS,
    ) -> ScoreHistogram:
        """Counts scores: similarities in 0…1 [n], actual and predicted labels as bool [n]."""
        value = np.clip(np.asarray(similarity, np.float64), 0, 1)
        actual, predicted = np.asarray(actual, bool), np.asarray(predicted, bool)
        bin_of = place(value, bins)
        cell = (actual * 2 + predicted) * bins + bin_of
        # Summed from the rows: within the last bins −ln varies too much to be taken from a middle.
        given = np.where(actual, value, 1 - value)
        loss = -np.log(np.clip(given, SMALLEST, 1 - SMALLEST))
        return cls(
            np.bincount(cell, minlength=4 * bins).reshape(2, 2, bins),
            np.bincount(bin_of, value, minlength=bins),
            np.bincount(actual * bins + bin_of, loss, minlength=2 * bins).reshape(2, bins),
        )

    @classmethod
    def empty(cls, bins: int = BINS) -> ScoreHistogram:
        """One without rows."""
        nothing = np.zeros(0)
        return cls.count(nothing, nothing, nothing, bins)

    def __add__(self, other: ScoreHistogram) -> ScoreHistogram:
        """Both together."""
        return ScoreHistogram(
            self.counts + other.counts,
            self.similarity + other.similarity,
            self.log_loss + other.log_loss,
        )

    @property
    def rows(self) -> int:
        """How many scores were counted."""
        return int(self.counts.sum())

    @property
    def by_label(self) -> np.ndarray:
        """Rows by actual label: int64 [actual, bins]."""
        return self.counts.sum(axis=1)

    def occupied(self) -> ScoreHistogram:
        """The same without its empty bins; curves and measures do not change."""
        used = self.counts.any(axis=(0, 1))
        return ScoreHistogram(self.counts[..., used], self.similarity[used], self.log_loss[:, used])
