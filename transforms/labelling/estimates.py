"""Precision, recall and accuracy of a model over all its pairs, from the random share's labels.

The share is a sample of each predicted class on its own (stratified). With p₁ the part of pairs
that are the same among those called so, p₀ among the others, and N₁, N₀ how many there are of each:
precision = p₁, recall = N₁p₁ / (N₁p₁ + N₀p₀). The intervals are Clopper and Pearson's (Biometrika
1934), which hold the true value at least as often as they say; for recall and accuracy their two
distributions, Beta(k, n − k + 1) below and Beta(k + 1, n − k) above, are drawn many times.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from transforms.labelling.choice import CHOSEN_FOR, PAIR, PREDICTED, RANDOM

DRAWS = 20_000
_SEED = 20


@dataclass(frozen=True)
class LabelEstimate:
    """A measure with its 95 % interval; None where it is unknown."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class ClassSample:
    """The labels of a sample of one predicted class.

    Attributes:
        rows: pairs of that class in all.
        labelled: how many were drawn and labelled.
        same: how many of these are the same.
    """

    rows: int
    labelled: int
    same: int


def estimate(samples: Mapping[int, ClassSample]) -> dict[str, Any]:
    """The measures over all pairs.

    Args:
        samples: by predicted class, 1 for same and 0 for not.

    Returns:
        `precision`, `recall` and `accuracy`, each with `value`, `low` and `high`, and the counts.
    """
    nothing = ClassSample(0, 0, 0)
    same, other = samples.get(1, nothing), samples.get(0, nothing)
    random = np.random.default_rng(_SEED)
    low1, high1 = _bounds(same, random)
    low0, high0 = _bounds(other, random)
    k1, k0 = np.array([_rate(same)]), np.array([_rate(other)])
    known1, known0 = (each.labelled > 0 or not each.rows for each in (same, other))
    both = known1 and known0 and same.rows + other.rows > 0
    sizes = same.rows, other.rows
    # Both grow with what is right among those called same, and fall with what was missed.
    recall, accuracy = (
        [measure(*rates, sizes) for rates in ((k1, k0), (low1, high0), (high1, low0))]
        for measure in (_recall, _accuracy)
    )
    measures = {
        "precision": _measure(k1, low1, high1, known1 and same.rows > 0),
        "recall": _measure(recall[0], recall[1], recall[2], both),
        "accuracy": _measure(accuracy[0], accuracy[1], accuracy[2], both),
    }
    found: dict[str, Any] = {name: asdict(measure) for name, measure in measures.items()}
    return found | {"labelled": same.labelled + other.labelled}


def estimate_choice(
    rows_by_predicted: Mapping[str, int],
    chosen: Iterable[Mapping[str, Any]],
    answers: Mapping[str, Any],
) -> dict[str, Any]:
    """The measures of the model that chose, from the answers to its random pairs alone.

    Args:
        rows_by_predicted: how many rows it chose from, by predicted class.
        chosen: the pairs, as `choose` gives them.
        answers: of pairs by their names: 0 or 1, as number or text; others do not count.

    Returns:
        As `estimate`.
    """
    random = [each for each in chosen if each[CHOSEN_FOR] == RANDOM]
    samples = {}
    for name, rows in rows_by_predicted.items():
        of_class = [str(answers.get(each[PAIR])) for each in random if each[PREDICTED] == int(name)]
        samples[int(name)] = ClassSample(
            rows, of_class.count("0") + of_class.count("1"), of_class.count("1")
        )
    return estimate(samples)


def _rate(sample: ClassSample) -> float:
    return sample.same / sample.labelled if sample.labelled else 0.0


def _bounds(sample: ClassSample, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    hits, misses = sample.same, sample.labelled - sample.same
    low = random.beta(hits, misses + 1, DRAWS) if hits else np.zeros(DRAWS)
    high = random.beta(hits + 1, misses, DRAWS) if misses else np.ones(DRAWS)
    return low, high if sample.rows else np.zeros(DRAWS)


def _recall(same: np.ndarray, other: np.ndarray, rows: tuple[int, int]) -> np.ndarray:
    found, missed = rows[0] * same, rows[1] * other
    nothing = np.full(len(found), np.nan)
    return np.divide(found, found + missed, out=nothing, where=found + missed > 0)


def _accuracy(same: np.ndarray, other: np.ndarray, rows: tuple[int, int]) -> np.ndarray:
    return (rows[0] * same + rows[1] * (1 - other)) / max(sum(rows), 1)


def _measure(value: np.ndarray, low: np.ndarray, high: np.ndarray, known: bool) -> LabelEstimate:
    if not known:
        return LabelEstimate(None)
    found = None if np.isnan(value[0]) else float(value[0])
    return LabelEstimate(
        found, float(np.nanquantile(low, 0.025)), float(np.nanquantile(high, 0.975))
    )
