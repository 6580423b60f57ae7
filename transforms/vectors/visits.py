"""Cells that vectors visit: near vectors are in few of them, and how few is measured.

Each vector lives in the cell of its nearest centroid and visits those of the next nearest ones, as
an inverted file is probed (Jégou, Douze and Schmid, IEEE PAMI 33, 2011). Two vectors are compared
where one of them visits the other's home. Nothing is proved here, so the cells need not suit the
distance of the comparison: nearest is what the square of the difference says, along the principal
axes of a sample, as far as these are fewer than the dimensions.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from transforms.vectors.cells import Cells
from transforms.vectors.near import Distance, as_unit, kernels

MOST_VISITS = 32
AXES = 96  # of 384 floats a quarter of the products, and in them hardly another order
_ROUNDS = 4
_AT_ONCE = 512  # a tile of 3,500 cells stays near the core
_SAVED = ("axes", "centroids", "parts", "blocks")


@dataclass(frozen=True)
class VisitedCells:
    """Centroids, and which blocks hold the vectors of their cells.

    A cell that would not fit in a block is spread over several, by a hash: each part is a home.

    Attributes:
        distance: of the comparison; cosines are taken between unit vectors.
        axes: principal axes of the vectors, float32 [d, a].
        centroids: along these axes, float32 [c, a].
        parts: how many homes each cell has, int64 [c].
        blocks: the block of each home, cell by cell, int64 [h].
    """

    distance: Distance
    axes: np.ndarray
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
        return nearest_points(self.centroids, vectors, self.most_visits, self._along)

    def _along(self, vectors: np.ndarray) -> np.ndarray:
        """Vectors [n, d] along the axes, float32 [n, a]; NaN is 0."""
        return np.nan_to_num(as_unit(vectors, self.distance)).astype(np.float32) @ self.axes

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
        np.savez(content, **{name: getattr(self, name) for name in _SAVED})
        return content.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes, distance: Distance) -> VisitedCells:
        """Those that `to_bytes` wrote."""
        with np.load(io.BytesIO(content)) as found:
            return cls(distance, *(found[name] for name in _SAVED))


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
    axes = principal_axes(points, AXES)
    points = np.ascontiguousarray(points @ axes)
    centroids = points if len(points) <= count else _means(points, count, seed)
    centroids = centroids[np.argsort(_labels(centroids, blocks, seed), kind="stable")]
    whole = VisitedCells(distance, axes, centroids, np.ones(len(centroids), np.int64), np.zeros(0))
    shares = np.bincount(whole.nearest(sample)[:, 0], minlength=len(centroids)) / len(sample)
    parts = np.maximum(1, np.ceil(shares * blocks)).astype(np.int64)
    of_homes = np.repeat(shares / parts, parts)
    middles = np.cumsum(of_homes) - of_homes / 2
    return replace(
        whole, parts=parts, blocks=np.minimum(blocks - 1, (middles * blocks).astype(int))
    )


def principal_axes(points: np.ndarray, count: int) -> np.ndarray:
    """The axes along which points [n, d] differ most (Pearson 1901), float32 [d, a], a ≤ count.

    Where there are no more dimensions than that, each is an axis.
    """
    dimensions = points.shape[1]
    if dimensions <= count:
        return np.eye(dimensions, dtype=np.float32)
    wide = points.astype(np.float64)
    wide -= wide.mean(axis=0)
    axes = np.linalg.eigh(wide.T @ wide)[1][:, -count:]  # of the greatest eigenvalues
    return np.ascontiguousarray(axes, np.float32)


def _labels(centroids: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Which centroids lie together, int64 [c]: groups that may share a block."""
    if count >= len(centroids):
        return np.arange(len(centroids))
    return nearest_points(_means(centroids, count, seed), centroids, 1)[:, 0]


def nearest_points(
    points: np.ndarray,
    vectors: np.ndarray,
    count: int,
    along: Callable[[np.ndarray], np.ndarray] | None = None,
) -> np.ndarray:
    """The nearest of points [c, a] to each of vectors [n, d], int64 [n, count].

    A part of fixed size after the other, as many at once as there are cores: a sum's order then
    does not depend on how many there are.

    Args:
        points: float32.
        vectors: float32.
        count: how many of the points.
        along: vectors [n, d] → what is compared with the points, [n, a]; by default themselves.
    """
    from threadpoolctl import threadpool_limits

    squares = np.einsum("ca,ca->c", points, points)[:, None]
    turned = np.hstack([points, -squares / 2]).T  # |u − p|² is least where u·p − |p|²/2 is greatest

    def search(start: int) -> np.ndarray:
        part = vectors[start : start + _AT_ONCE]
        part = part if along is None else along(part)
        with np.errstate(invalid="ignore", over="ignore"):
            tile = np.hstack([part, np.ones((len(part), 1), np.float32)]) @ turned
        found = np.empty((len(part), count), np.int32)
        kernels().greatest(tile, found)
        return found

    with (
        threadpool_limits(1, user_api="blas"),
        ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool,
    ):
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
