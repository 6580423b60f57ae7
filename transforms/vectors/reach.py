"""From a least similarity to a greatest distance, whatever a bundle makes of distances."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import pyarrow as pa

from transforms.vectors.near import Distance, Reach

DISTANCES: tuple[Distance, ...] = ("cosine", "euclidean", "manhattan")
_POINTS = 1_024
_FARTHEST = 1e6


class Comparer(Protocol):
    """What encodes sentences and compares their vectors: a bundle's engine, or a fake in a test.

    Attributes:
        fields: the columns that a comparison fills; the first is the similarity.
        dimensions: length d of a vector.
    """

    fields: tuple[pa.Field, ...]

    @property
    def dimensions(self) -> int:
        """Length of a vector."""

    def encode(self, sentences: list[str]) -> np.ndarray:
        """Distinct sentences [n] → vectors, float32 [n, d]."""

    def compare(self, vectors: np.ndarray, first: np.ndarray, second: np.ndarray) -> list[pa.Array]:
        """Rows of vectors [n, d] by number, [m] each → an array [m] for each of `fields`."""


def reach_of(comparer: Comparer, distance: Distance, least: float) -> Reach:
    """How near two vectors have to be for a similarity of at least `least`.

    The comparison itself is evaluated, at distances ever closer to the edge. So a scale, a limit or
    a calibration on top of the distance needs no formula here; the similarity only has to fall with
    the distance.

    Args:
        comparer: compares vectors.
        distance: what the similarity is a function of.
        least: the least similarity.
    """
    low, high = 0.0, 2.0 if distance == "cosine" else _FARTHEST
    if (_similarities(comparer, distance, np.array([high])) >= np.float32(least)).all():
        return Reach(distance, float("inf"))
    for _ in range(8):
        points = _between(low, high)
        near = _similarities(comparer, distance, points) >= np.float32(least)
        # Beyond the last near point, not the first that is none: float32 may go up and down there.
        edge = min(int(np.flatnonzero(near)[-1]) + 1, len(points) - 1) if near.any() else 0
        low, high = (points[edge - 1] if edge else low), points[edge]
    return Reach(distance, float(high))


def _between(low: float, high: float) -> np.ndarray:
    if low == 0 and high > 2:  # a factor apart first, then a difference
        return np.concatenate([[0.0], np.geomspace(1e-6, high, _POINTS - 1)])
    return np.linspace(low, high, _POINTS)


def _similarities(comparer: Comparer, distance: Distance, apart: np.ndarray) -> np.ndarray:
    """Similarities of two vectors at these distances, float32 [n]."""
    vectors = np.zeros((1 + len(apart), comparer.dimensions), np.float32)
    if distance == "cosine":
        vectors[:, 0] = np.append(1.0, 1 - apart)
        if comparer.dimensions > 1:
            vectors[1:, 1] = np.sqrt(np.maximum(apart * (2 - apart), 0))
    else:
        vectors[1:, 0] = apart
    second = np.arange(1, len(vectors))
    found = comparer.compare(vectors, np.zeros(len(apart), np.int64), second)[0]
    return found.to_numpy(zero_copy_only=False)


def reachable(similarities: pa.Array, least: float) -> np.ndarray:
    """Which similarities are enough: bool [n]; NaN is not."""
    return similarities.to_numpy(zero_copy_only=False) >= np.float32(least)
