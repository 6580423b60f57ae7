"""Cells that vectors visit: what is near lies in few of them, and how few is measured.

Each vector lives in the cell of its nearest centroid and visits those of the next nearest ones, as
an inverted file is probed (Jégou, Douze and Schmid, IEEE PAMI 33, 2011). Two vectors are compared
where one of them visits the other's home. Nothing is proved here, so the cells need not suit the
distance of the comparison: nearest is what the square of the difference says.
"""

from __future__ import annotations

import io
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from transforms.vectors.cells import Cells
from transforms.vectors.near import Distance, as_unit

MOST_VISITS = 32
_ROUNDS = 4
_AT_ONCE = 2_048


@dataclass(frozen=True)
class VisitedCells:
    """Centroids, and which blocks hold the vectors of their cells.

    A cell that would not fit in a block is spread over several, by a hash: each part is a home.

    Attributes:
        distance: of the comparison; cosines are taken between unit vectors.
        centroids: float32 [c, d].
        parts: how many homes each cell has, int64 [c].
        blocks: the block of each home, cell by cell, int64 [h].
    """

    distance: Distance
    centroids: np.ndarray
    parts: np.ndarray
    blocks: np.ndarray

    @property
    def most_visits(self) -> int:
        """How many cells a vector may visit."""
        return min(MOST_VISITS, len(self.centroids))

    @property
    def cells(self) -> np.ndarray:
        """The cell of each home, int64 [h]."""
        return np.repeat(np.arange(len(self.parts)), self.parts)

    def nearest(self, vectors: np.ndarray) -> np.ndarray:
        """The cells of vectors [n, d] in the order they are visited, int64 [n, most_visits]."""
        points = np.nan_to_num(as_unit(vectors, self.distance).astype(np.float32, copy=False))
        return nearest_points(self.centroids, points, self.most_visits)

    def homes(self, nearest: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """The home of each vector: in its nearest cell, the part that its key says.

        Args:
            nearest: see the method, [n, v].
            keys: a hash of each vector's sentence, uint64 [n].
        """
        starts, own = np.cumsum(self.parts) - self.parts, nearest[:, 0]
        return starts[own] + (keys % self.parts[own].astype(np.uint64)).astype(np.int64)

    def to_bytes(self) -> bytes:
        """For a file."""
        content = io.BytesIO()
        np.savez(content, centroids=self.centroids, parts=self.parts, blocks=self.blocks)
        return content.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes, distance: Distance) -> VisitedCells:
        """Those that `to_bytes` wrote."""
        with np.load(io.BytesIO(content)) as found:
            return cls(distance, found["centroids"], found["parts"], found["blocks"])


AnyCells = Cells | VisitedCells


def choose_visited(
    sample: np.ndarray, count: int, blocks: int, distance: Distance, *, seed: int = 1
) -> VisitedCells:
    """Cells around the means of a sample [n, d], in blocks that hold about as much each.

    Args:
        sample: vectors of all blocks.
        count: how many cells.
        blocks: how many blocks; cells that are near each other share one.
        distance: of the comparison.
        seed: of k-means.
    """
    points = np.ascontiguousarray(as_unit(sample, distance), np.float32)
    points = np.unique(points[np.isfinite(points).all(axis=1)], axis=0)
    if not len(points):
        points = np.zeros((1, sample.shape[1]), np.float32)
    centroids = points if len(points) <= count else _means(points, count, seed)
    whole = VisitedCells(distance, centroids, np.ones(len(centroids), np.int64), np.zeros(0, int))
    order = np.argsort(_labels(centroids, blocks, seed), kind="stable")
    whole = VisitedCells(distance, centroids[order], whole.parts, whole.blocks)
    shares = np.bincount(whole.nearest(sample)[:, 0], minlength=len(centroids)) / len(sample)
    parts = np.maximum(1, np.ceil(shares * blocks)).astype(np.int64)
    of_homes = np.repeat(shares / parts, parts)
    middles = np.cumsum(of_homes) - of_homes / 2
    return VisitedCells(
        distance, whole.centroids, parts, np.minimum(blocks - 1, (middles * blocks).astype(int))
    )


def _labels(centroids: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Which centroids lie together, int64 [c]: groups that may share a block."""
    if count >= len(centroids):
        return np.arange(len(centroids))
    return nearest_points(_means(centroids, count, seed), centroids, 1)[:, 0]


def nearest_points(points: np.ndarray, vectors: np.ndarray, count: int) -> np.ndarray:
    """The nearest of points [c, d] to each of vectors [n, d], int64 [n, count].

    A part of fixed size after the other, as many at once as there are cores: a sum's order then
    does not depend on how many there are.
    """
    import faiss

    index = faiss.IndexFlatL2(points.shape[1])
    index.add(points)

    def search(start: int) -> np.ndarray:
        part = np.ascontiguousarray(vectors[start : start + _AT_ONCE])
        return index.search(part, count)[1]

    faiss.omp_set_num_threads(1)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        found = list(pool.map(search, range(0, len(vectors), _AT_ONCE)))
    return np.concatenate([np.zeros((0, count), np.int64), *found])


def _means(points: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Centres of points [n, d] by k-means (Lloyd 1982, with faiss), float32 [count, d]."""
    import faiss

    means = faiss.Kmeans(
        points.shape[1], count, niter=_ROUNDS, seed=seed, min_points_per_centroid=1,
        max_points_per_centroid=-(-len(points) // count),
    )  # fmt: skip
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)  # several would add in an order of their own
    try:
        means.train(points)
    finally:
        faiss.omp_set_num_threads(threads)
    return np.ascontiguousarray(means.centroids)
