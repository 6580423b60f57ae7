"""The weakest edges that hold a cluster together, and cutting it there.

The strongest spanning forest (Kruskal 1956) keeps, of all edges, those that hold parts together
which no stronger edges join. Its weakest edge is where the cluster falls apart first when the
threshold rises. Forests of parts of the edges make the forest of all, so parts can be worked on
apart.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Edges:
    """Edges between nodes with a weight: numbers [n, 2] and float32 [n]."""

    ends: np.ndarray
    weights: np.ndarray

    def take(self, places: np.ndarray) -> Edges:
        """Some of them."""
        return Edges(self.ends[places], self.weights[places])

    @staticmethod
    def join(parts: list[Edges]) -> Edges:
        """All edges of some parts."""
        ends = [np.zeros((0, 2), np.uint64), *(part.ends for part in parts)]
        weights = [np.zeros(0, np.float32), *(part.weights for part in parts)]
        return Edges(np.concatenate(ends), np.concatenate(weights))


def strongest_forest(edges: Edges) -> Edges:
    """The edges of the strongest spanning forest, the strongest first; ties go by the nodes."""
    kept, _ = _kruskal(edges)
    return edges.take(kept)


def cut_weakest(edges: Edges, most: int) -> tuple[Edges, Edges]:
    """Takes the weakest edges out of a forest until no tree has more than `most` nodes.

    An edge of the forest joins two trees of stronger edges. It goes where both together are too
    large; what is above it in the order of strength goes or stays by the same rule.

    Returns:
        The edges that stay, and those taken out, both the strongest first.
    """
    kept, sizes = _kruskal(edges)
    return edges.take(kept[sizes <= most]), edges.take(kept[sizes > most])


def _kruskal(edges: Edges) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the forest's edges, the strongest first, and how large a tree each made."""
    ends = np.sort(edges.ends, axis=1)
    order = np.lexsort((ends[:, 1], ends[:, 0], -edges.weights.astype(np.float64)))
    nodes, places = np.unique(ends, return_inverse=True)
    made = _trees()(places.reshape(ends.shape)[order], len(nodes))
    kept = np.flatnonzero(made)
    return order[kept], made[kept]


@functools.cache
def _trees() -> Callable[[np.ndarray, int], np.ndarray]:
    """The loop over edges, as machine code where numba is installed."""
    try:
        from numba import njit
    except ImportError:
        return _join_trees
    return njit(nogil=True)(_join_trees)


def _join_trees(ends: np.ndarray, count: int) -> np.ndarray:
    """Joins trees edge by edge (union by size, with path halving).

    Args:
        ends: int64 [n, 2], numbers below `count`.
        count: how many nodes there are.

    Returns:
        How large a tree each edge made, or 0 where its ends were in one before: int64 [n].
    """
    parents, sizes = np.arange(count), np.ones(count, np.int64)
    made = np.zeros(len(ends), np.int64)
    for edge in range(len(ends)):
        first, second = ends[edge, 0], ends[edge, 1]
        while parents[first] != first:
            parents[first] = parents[parents[first]]
            first = parents[first]
        while parents[second] != second:
            parents[second] = parents[parents[second]]
            second = parents[second]
        if first != second:
            if sizes[first] < sizes[second]:
                first, second = second, first
            parents[second] = first
            sizes[first] += sizes[second]
            made[edge] = sizes[first]
    return made
