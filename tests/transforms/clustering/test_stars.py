"""Components by stars, held against SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from transforms.clustering import stars


def least_of_components(edges: np.ndarray, nodes: int) -> np.ndarray:
    """The least node of each node's component, by SciPy: [nodes]."""
    ends = edges.astype(np.int64).T
    graph = coo_matrix((np.ones(len(edges)), tuple(ends)), shape=(nodes, nodes))
    _, component = connected_components(graph, directed=False)
    least = np.full(component.max(initial=-1) + 1, nodes)
    np.minimum.at(least, component, np.arange(nodes))
    return least[component]


def labels(found: np.ndarray, nodes: int) -> np.ndarray:
    label = np.arange(nodes)
    label[found[:, 0].astype(np.int64)] = found[:, 1]
    return label


def as_edges(pairs) -> np.ndarray:
    return np.array(pairs, np.uint64).reshape(-1, 2)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=60))
def test_components_are_scipys(pairs):
    edges = as_edges(pairs)
    assert (labels(stars.as_stars(edges), 31) == least_of_components(edges, 31)).all()


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=40))
def test_one_operation_keeps_the_components(pairs):
    edges = stars.distinct(stars.downward(as_edges([p for p in pairs if p[0] != p[1]])))
    before = least_of_components(edges, 21)
    large = stars.large_star(stars.both_ways(edges))
    assert (least_of_components(large, 21) == before).all()
    assert (least_of_components(stars.small_star(large), 21) == before).all()
    assert (large[:, 0] > large[:, 1]).all()


@pytest.mark.parametrize("shape", ["path", "star", "random", "ring"])
def test_many_nodes(shape):
    nodes, random = 20_000, np.random.default_rng(2)
    ids = random.permutation(nodes)
    ends = {
        "path": (ids[:-1], ids[1:]),
        "ring": (ids, np.roll(ids, 1)),
        "star": (np.full(nodes - 1, ids[0]), ids[1:]),
        "random": (random.integers(nodes, size=nodes), random.integers(nodes, size=nodes)),
    }[shape]
    edges = np.stack(ends, axis=1).astype(np.uint64)
    assert (labels(stars.as_stars(edges), nodes) == least_of_components(edges, nodes)).all()


def test_parts_of_a_signature_add_up_and_order_does_not_matter():
    edges = as_edges([(5, 1), (7, 1), (9, 2), (1, 5)])
    total = sum(stars.signature(edges[i : i + 1]) for i in (2, 0, 3, 1)) % 2**64
    assert stars.signature(edges) == total
    assert stars.signature(edges[:3]) != stars.signature(edges[1:])
