"""Scores against number labels: a joint histogram and moments that add up, and what they say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BINS = 1_000  # a side; at most a million cells, of which only those with rows are kept


@dataclass(frozen=True)
class JointHistogram:
    """Scores and labels counted on a grid, and their exact sums.

    Attributes:
        low: least score and least label of the grid, float64 [2].
        width: a bin's width in both, float64 [2].
        cells: score bin · BINS + label bin of the cells with rows, int64 [k], rising.
        counts: rows of those cells, int64 [k].
        moments: Σ1, Σx, Σy, Σx², Σy², Σxy, Σ|x − y| of score x and label y, float64 [7].
    """

    low: np.ndarray
    width: np.ndarray
    cells: np.ndarray
    counts: np.ndarray
    moments: np.ndarray

    @classmethod
    def count(
        cls,
        scores: np.ndarray,
        labels: np.ndarray,
        *,
        score_range: tuple[float, float],
        label_range: tuple[float, float],
    ) -> JointHistogram:
        """Counts scores [n] and labels [n]; what is outside a range counts at its edge."""
        x, y = np.asarray(scores, np.float64), np.asarray(labels, np.float64)
        low = np.array([score_range[0], label_range[0]], np.float64)
        width = (np.array([score_range[1], label_range[1]]) - low) / BINS
        width = np.where(width > 0, width, 1.0)
        bins = ((np.stack([x, y], axis=1) - low) / width).astype(np.int64).clip(0, BINS - 1)
        cells, counts = np.unique(bins[:, 0] * BINS + bins[:, 1], return_counts=True)
        parts = (np.ones_like(x), x, y, x * x, y * y, x * y, np.abs(x - y))
        return cls(low, width, cells, counts, np.array([part.sum() for part in parts]))

    def __add__(self, other: JointHistogram) -> JointHistogram:
        """Both together; they share a grid."""
        cells, place = np.unique(np.r_[self.cells, other.cells], return_inverse=True)
        counts = np.zeros(len(cells), np.int64)
        np.add.at(counts, place, np.r_[self.counts, other.counts])
        return JointHistogram(self.low, self.width, cells, counts, self.moments + other.moments)

    @property
    def rows(self) -> int:
        """How many scores were counted."""
        return int(self.counts.sum())

    def centers(self) -> tuple[np.ndarray, np.ndarray]:
        """Score and label in the middle of each cell, both float64 [k]."""
        bins = np.stack(np.divmod(self.cells, BINS), axis=1)
        score, label = (self.low + (bins + 0.5) * self.width).T
        return score, label


def measures(joint: JointHistogram, counts: np.ndarray | None = None) -> dict[str, float]:
    """Pearson, Spearman, and the errors' mean square and mean; NaN where one has no meaning.

    Args:
        joint: the scores and labels.
        counts: resampled counts in place of the histogram's, [k].
    """
    if counts is None:
        moments, counts = joint.moments, joint.counts
    else:
        # The exact sums are those of the original rows. Resampled rows are known only as counts of
        # cells, so they are taken to lie in the middle of these.
        x, y = joint.centers()
        parts = (np.ones_like(x), x, y, x * x, y * y, x * y, np.abs(x - y))
        moments = np.array([part @ counts for part in parts])
    rows, _, _, xx, yy, xy, absolute = moments
    return {
        "pearson": _correlation(moments),
        "spearman": _spearman(joint.cells, counts),
        "mean_squared_error": (xx - 2 * xy + yy) / rows if rows else float("nan"),
        "mean_absolute_error": absolute / rows if rows else float("nan"),
    }


def _correlation(moments: np.ndarray) -> float:
    rows, x, y, xx, yy, xy = moments[:6]
    spread = (rows * xx - x * x) * (rows * yy - y * y)
    return float((rows * xy - x * y) / np.sqrt(spread)) if spread > 0 else float("nan")


def _spearman(cells: np.ndarray, counts: np.ndarray) -> float:
    """Pearson's correlation of the ranks; rows of one bin share their middle rank."""
    x, y = (_ranks(bins, counts) for bins in np.divmod(cells, BINS))
    x, y = x - (x @ counts) / max(counts.sum(), 1), y - (y @ counts) / max(counts.sum(), 1)
    spread = ((x * x) @ counts) * ((y * y) @ counts)
    return float(((x * y) @ counts) / np.sqrt(spread)) if spread > 0 else float("nan")


def _ranks(bins: np.ndarray, counts: np.ndarray) -> np.ndarray:
    rows = np.bincount(bins, counts, minlength=BINS)
    return (np.cumsum(rows) - (rows - 1) / 2)[bins]
