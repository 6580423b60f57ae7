"""Cells around centroids: which vectors of two cells need no comparison, and why that is so.

Each vector lives in the cell of its nearest centroid. A vector x of cell a and a vector y of cell
b that are at most r apart satisfy, by the triangle inequality alone,

    d(x, p_b) ≤ d(x, y) + d(y, p_b) ≤ r + d(y, p_a) ≤ 2 r + d(x, p_a),
    d(x, p_b) ≤ r + the greatest distance of cell b from its centroid,

and the same with x and y, a and b changed over. Where the distance is Euclidean, x is beside the
plane half way between the centroids, at least (d(x, p_b)² − d(x, p_a)²) / (2 d(p_a, p_b)) away
from all of b, and that must be at most r. So only those vectors of a that may reach b are compared
with those of b that may reach a, in the unit of work of both cells and nowhere else: the pairs of
two cells have one owner (ClusterJoin: Das Sarma, He and Chaudhuri, VLDB 2014, section 4).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from transforms.vectors.near import Distance, Reach, as_unit, rounding

_SLACK = 1e-6  # distances are summed in float64; vectors are float32


@dataclass(frozen=True)
class Cells:
    """Centroids, and what is needed to find which cells a vector may reach.

    Attributes:
        distance: of the comparison; cosines are taken as chords between unit vectors.
        centroids: float32 [c, d].
    """

    distance: Distance
    centroids: np.ndarray

    def distances(self, vectors: np.ndarray) -> np.ndarray:
        """Of vectors [n, d] from each centroid, float64 [n, c]."""
        points = as_unit(vectors, self.distance).astype(np.float64)
        centres = self.centroids.astype(np.float64)
        if self.distance == "manhattan":
            return _manhattan(points, centres)
        squares = np.einsum("nd,nd->n", points, points)[:, None] - 2 * points @ centres.T
        return np.sqrt(np.maximum(squares + np.einsum("cd,cd->c", centres, centres), 0))

    def between(self) -> np.ndarray:
        """Distances of the centroids from each other, float64 [c, c]."""
        centres = self.centroids.astype(np.float64)
        if self.distance == "manhattan":
            return _manhattan(centres, centres)
        return np.sqrt(np.maximum(((centres[:, None] - centres[None]) ** 2).sum(-1), 0))

    def radius(self, reach: Reach) -> float:
        """The reach as a distance that the triangle inequality holds for."""
        wider = reach.radius * (1 + rounding(self.centroids.shape[1]))
        if reach.distance == "cosine":  # |u − v|² = 2 (1 − u·v) of unit vectors
            wider = float(np.sqrt(2 * (reach.radius + rounding(self.centroids.shape[1]))))
        return wider + _SLACK


def _manhattan(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    from transforms.vectors.kernels import manhattan_distances

    return manhattan_distances(u, v)


def may_reach(
    cells: Cells, distances: np.ndarray, homes: np.ndarray, widest: np.ndarray, radius: float
) -> np.ndarray:
    """Which cells each vector may have a near partner in.

    Args:
        cells: the cells.
        distances: of the vectors from each centroid, float64 [n, c].
        homes: the cell of each vector, int [n].
        widest: the greatest distance of each cell from its centroid, float64 [c].
        radius: see `Cells.radius`.

    Returns:
        bool [n, c]; a vector's own cell is always among them.
    """
    own = distances[np.arange(len(homes)), homes][:, None]
    # Lines one and two of the module's text, which hold for every metric. What they leave out
    # cannot be within the radius; what they leave in costs a comparison at most.
    reached = (distances <= own + 2 * radius) & (distances <= widest + radius)
    if cells.distance != "manhattan":
        # The plane between two centroids is Euclid's: Manhattan distance has no such bound.
        apart = cells.between()[homes]
        beyond = (distances**2 - own**2) > 2 * apart * (radius + _SLACK)
        reached &= ~(beyond & (apart > 0))
    reached[np.arange(len(homes)), homes] = True
    return reached


def nearest_cells(distances: np.ndarray, visits: int) -> np.ndarray:
    """The cells of each vector's `visits` nearest centroids: distances [n, c] → bool [n, c]."""
    ranked = np.argsort(distances, axis=1, kind="stable")[:, :visits]
    near = np.zeros(distances.shape, bool)
    np.put_along_axis(near, ranked, True, axis=1)
    return near


def homes(centroids: np.ndarray, distances: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """The cell of each vector: that of its nearest centroid, or one of several by its key.

    Args:
        centroids: float32 [c, d], equal ones beside each other.
        distances: of the vectors from each of them, [n, c].
        keys: a hash of each vector's sentence, uint64 [n].
    """
    first = np.ones(len(centroids), bool)
    first[1:] = (centroids[1:] != centroids[:-1]).any(axis=1)
    starts = np.flatnonzero(first)
    copies = np.diff(np.append(starts, len(centroids)))
    nearest = distances[:, starts].argmin(axis=1)
    return starts[nearest] + (keys % copies[nearest].astype(np.uint64)).astype(np.int64)


def choose_centroids(
    sample: np.ndarray, count: int, distance: Distance, *, seed: int = 1
) -> np.ndarray:
    """The points of a sample [n, d] nearest to its centres by k-means (Lloyd 1982, with faiss).

    They are points of the sample, not means, so that the last bits of a mean, which depend on the
    machine, move no vector to another cell. What cells exclude is right for any points. A point
    that would have far more than its share of the sample is listed several times: its cell is
    divided by a hash.

    Returns:
        float32 [count, d]; equal ones are neighbours. None where there is no sample.
    """
    points = np.unique(np.ascontiguousarray(as_unit(sample, distance), np.float32), axis=0)
    if not len(points):
        return np.zeros((count, sample.shape[1]), np.float32)
    chosen = points if len(points) <= count else _nearest_to_means(points, count, seed)
    apart = Cells(distance, chosen).distances(sample)
    shares = np.bincount(apart.argmin(axis=1), minlength=len(chosen))
    return np.repeat(chosen, _copies(shares, count), axis=0)


def _nearest_to_means(points: np.ndarray, count: int, seed: int) -> np.ndarray:
    """So many of the points [n, d], or fewer, in order."""
    import faiss

    wanted = max(1, count - count // 8)  # the rest divides cells that come out too large
    means = faiss.Kmeans(
        points.shape[1], wanted, niter=10, seed=seed, min_points_per_centroid=1,
        max_points_per_centroid=max(256, -(-len(points) // wanted)),
    )  # fmt: skip
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)  # several would add in an order of their own
    try:
        means.train(points)
    finally:
        faiss.omp_set_num_threads(threads)
    nearest = Cells("euclidean", np.ascontiguousarray(means.centroids)).distances(points)
    return points[np.unique(nearest.argmin(axis=0))]


def _copies(shares: np.ndarray, count: int) -> np.ndarray:
    """How often each cell is listed, so that the largest piece is as small as can be."""
    # Each further copy goes to the cell whose pieces are the largest now.
    copies = np.ones(len(shares), np.int64)
    for _ in range(count - len(shares)):
        copies[np.argmax(shares / copies)] += 1
    return copies
