"""Connected components by alternating large-star and small-star.

Kiveris, Lattanzi, Mirrokni, Rastogi and Vassilvitskii, Connected Components in MapReduce and
Beyond, SoCC 2014. Nodes are numbers. Each operation looks at one node and its neighbours at a time,
so that nodes can be spread over workers, and keeps the components as they are; in turn they end,
after O(log² n) rounds and in practice after a few, with a star around the least node of each.

Edges are arrays uint64 [n, 2]. None of them is a loop; an edge may be there in both directions.
"""

from __future__ import annotations

import numpy as np

from transforms.hashing import mix

NO_EDGES = np.zeros((0, 2), np.uint64)


def both_ways(edges: np.ndarray) -> np.ndarray:
    """Each edge in both directions, for `large_star`."""
    return np.concatenate([edges, edges[:, ::-1]])


def downward(edges: np.ndarray) -> np.ndarray:
    """Each edge from its greater node to its lesser one, for `small_star`."""
    return np.sort(edges, axis=1)[:, ::-1]


def large_star(edges: np.ndarray) -> np.ndarray:
    """Joins the greater neighbours of each first node to the least node around it.

    Args:
        edges: all edges of each node that is a first node, from it to its neighbours.

    Returns:
        Edges from greater to lesser nodes, each once.
    """
    nodes, neighbours, least = _around(edges)
    # Only the greater ones: an edge is seen from both of its ends, and the lesser end handles it.
    # The node's own link to `least` is handled there in the same way, so no component falls apart.
    greater = neighbours > nodes
    return _distinct(neighbours[greater], least[greater])


def small_star(edges: np.ndarray) -> np.ndarray:
    """Joins each first node and its lesser neighbours to the least of them.

    Args:
        edges: all edges of each first node to lesser neighbours.

    Returns:
        Edges from greater to lesser nodes, each once.
    """
    nodes, neighbours, least = _around(edges)
    # The first node moves as well: between its lesser neighbours it was the only link.
    return _distinct(np.concatenate([neighbours, nodes]), np.concatenate([least, least]))


def _around(edges: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First nodes in order, their neighbours, and the least of each node and all its neighbours."""
    if not len(edges):
        none = np.zeros(0, np.uint64)
        return none, none, none
    edges = edges[np.argsort(edges[:, 0], kind="stable")]
    nodes, neighbours = edges[:, 0], edges[:, 1]
    starts = np.flatnonzero(np.concatenate([[True], nodes[1:] != nodes[:-1]]))
    least = np.minimum(np.minimum.reduceat(neighbours, starts), nodes[starts])
    return nodes, neighbours, np.repeat(least, np.diff(np.append(starts, len(nodes))))


def _distinct(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    proper = first != second
    return distinct(np.stack([first[proper], second[proper]], axis=1))


def distinct(edges: np.ndarray) -> np.ndarray:
    """Edges each once, in order."""
    edges = edges[np.lexsort((edges[:, 1], edges[:, 0]))]
    new = np.ones(len(edges), bool)
    new[1:] = (edges[1:] != edges[:-1]).any(axis=1)
    return edges[new]


def as_stars(edges: np.ndarray) -> np.ndarray:
    """The stars of the components of edges that fit in memory: (node, least node), in order."""
    edges = distinct(downward(edges[edges[:, 0] != edges[:, 1]]))
    while True:  # a round that changes nothing leaves stars: each node has one edge, to the least
        joined = small_star(downward(large_star(both_ways(edges))))
        if len(joined) == len(edges) and (joined == edges).all():
            return edges
        edges = joined


def signature(edges: np.ndarray) -> int:
    """A number for a set of edges, so that parts can be added: Σ of their hashes, modulo 2⁶⁴."""
    mixed = mix(mix(edges[:, 0]) ^ edges[:, 1])
    return int(mixed.sum(dtype=np.uint64))
