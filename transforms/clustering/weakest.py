"""The weakest edges that hold a cluster together, and cutting it there.

The strongest spanning forest (Kruskal 1956) keeps, of all edges, those that hold parts together
which no stronger edges join. Its weakest edge is where the cluster falls apart first when the
threshold rises. Forests of parts of the edges make the forest of all, so parts can be worked on
apart.
"""

from __future__ import annotations

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


def cut(edges: Edges, most: int) -> tuple[Edges, Edges]:
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
    places, trees = places.reshape(ends.shape), _Trees(len(nodes))
    made = [(edge, size) for edge in order.tolist() if (size := trees.join(*places[edge].tolist()))]
    found = np.array(made, np.int64).reshape(-1, 2)
    return found[:, 0], found[:, 1]


class _Trees:
    """Trees of numbers that are joined step by step (union by size, with path halving)."""

    def __init__(self, count: int):
        self._parents = list(range(count))
        self._sizes = [1] * count

    def find(self, node: int) -> int:
        parents = self._parents
        while parents[node] != node:
            parents[node] = parents[parents[node]]
            node = parents[node]
        return node

    def join(self, first: int, second: int) -> int:
        """Joins two trees: the size of what they make, or 0 where they were one before."""
        first, second = self.find(first), self.find(second)
        if first == second:
            return 0
        if self._sizes[first] < self._sizes[second]:
            first, second = second, first
        self._parents[second] = first
        self._sizes[first] += self._sizes[second]
        return self._sizes[first]
