"""How far the pairs that are scored lie from those that a bundle was trained on.

Three histograms are compared: tokens of a sentence, tokens that the vocabulary does not hold, and
similarities. The measure is the population stability index, Σ (p − q) · ln(p / q), less what chance
alone gives samples of these sizes; below 0.1 little has changed, above 0.25 much (Siddiqi, Credit
Risk Scorecards, 2006).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

LENGTHS = "sentence_length"
KNOWN = "out_of_vocabulary"
SIMILARITY = "similarity"
MUCH = 0.25
LITTLE = 0.1
SIMILARITY_BINS = 20
LENGTH_ENDS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64, 96, 128, 192, 256)
SAMPLE = 2_000  # sentences of a batch that are tokenised for it: some milliseconds

Profile = dict[str, list[int]]


def similarity_counts(
    similarity: np.ndarray, similarity_range: tuple[float, float], rows: np.ndarray | None = None
) -> list[int]:
    """Similarities [n], each standing for a number of `rows` [n], counted in equal steps."""
    low, high = similarity_range
    place = (np.asarray(similarity, np.float64) - low) / (high - low) * SIMILARITY_BINS
    bins = np.nan_to_num(place).astype(int).clip(0, SIMILARITY_BINS - 1)
    return np.bincount(bins, rows, minlength=SIMILARITY_BINS).astype(int).tolist()


def length_counts(lengths: np.ndarray, sentences: np.ndarray | None = None) -> list[int]:
    """Lengths in tokens [n], each of a number of `sentences` [n], counted in growing steps."""
    place = np.searchsorted(LENGTH_ENDS, lengths)
    return np.bincount(place, sentences, minlength=len(LENGTH_ENDS) + 1).astype(int).tolist()


def profile(
    similarity: np.ndarray,
    similarity_range: tuple[float, float],
    tokens: tuple[np.ndarray, np.ndarray] | None,
    unknown_id: int | None,
) -> Profile:
    """The profile of a batch of scored pairs.

    Args:
        similarity: of its pairs [n].
        similarity_range: least and greatest similarity.
        tokens: ids of a sample of its sentences in a row, and how many each has; None where the
            encoder reads raw text.
        unknown_id: the id of tokens that the vocabulary does not hold; None to count none.
    """
    found = {SIMILARITY: similarity_counts(similarity, similarity_range)}
    if tokens is not None:
        ids, lengths = tokens
        found[LENGTHS] = length_counts(lengths)
        if unknown_id is not None:
            unknown = int((ids == unknown_id).sum())
            found[KNOWN] = [len(ids) - unknown, unknown]
    return found


def training_profile(
    manifest: Mapping[str, Any], similarity: np.ndarray, similarity_range: tuple[float, float]
) -> Profile:
    """The profile of what a model was trained on: the examples' manifest and eval similarities."""
    found = {SIMILARITY: similarity_counts(similarity, similarity_range)}
    histogram = manifest.get("sentence_length_histogram") or {}
    rate = manifest.get("out_of_vocabulary_rate")
    if histogram and rate is not None:
        lengths = np.array([int(length) for length in histogram])
        sentences = np.array(list(histogram.values()))
        tokens = int((lengths * sentences).sum())
        unknown = round(rate * tokens)
        found |= {LENGTHS: length_counts(lengths, sentences), KNOWN: [tokens - unknown, unknown]}
    return found


def add_up(profiles: Iterable[Profile]) -> Profile:
    """All profiles together."""
    total: dict[str, np.ndarray] = {}
    for one in profiles:
        for name, counts in one.items():
            total[name] = total.get(name, 0) + np.asarray(counts, np.int64)
    return {name: counts.tolist() for name, counts in total.items()}


def stability_index(trained: Iterable[int], scored: Iterable[int]) -> float:
    """The population stability index of two histograms, less what chance gives; at least 0.

    Every bin gets half a row more, so an empty one gives no infinity. Between two samples of one
    population the index is near (bins − 1) · (1/n + 1/m) (Yurdakul, Statistical Properties of
    Population Stability Index, 2018).
    """
    before, now = (np.asarray(list(counts), np.float64) for counts in (trained, scored))
    used = (before + now) > 0
    before, now = before[used], now[used]
    if not before.sum() or not now.sum():
        return 0.0
    chance = (len(now) - 1) * (1 / before.sum() + 1 / now.sum())
    p, q = ((counts + 0.5) / (counts + 0.5).sum() for counts in (before, now))
    return float(max(((p - q) * np.log(p / q)).sum() - chance, 0.0))


def drift(trained: Profile, scored: Profile) -> dict[str, float]:
    """The stability index of each histogram in both profiles, and the greatest as `drift`."""
    found = {
        name: round(stability_index(trained[name], scored[name]), 4)
        for name in (LENGTHS, KNOWN, SIMILARITY)
        if name in trained and name in scored
    }
    return {"drift": max(found.values()), **found} if found else {}


def drift_size(index: float) -> str:
    """`little`, `some` or `much`."""
    return "little" if index < LITTLE else "some" if index < MUCH else "much"


def format_drift(found: Mapping[str, float]) -> str:
    """The drift in a line."""
    if not found:
        return "drift from training: unknown, the bundle has no profile of its training data"
    size = found["drift"]
    parts = ", ".join(f"{k.replace('_', ' ')} {v:.3f}" for k, v in found.items() if k != "drift")
    return f"drift from training: {drift_size(size)}, {size:.3f} ({parts})"
