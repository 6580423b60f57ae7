"""The edges that hold clusters together, and cutting there."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import minimum_spanning_tree

from tests.transforms.clustering.test_stars import as_edges, least_of_components
from transforms.clustering.weakest import Edges, cut_weakest, strongest_forest

graphs = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(1, 9)).filter(
        lambda edge: edge[0] != edge[1]
    ),
    max_size=40,
    unique_by=lambda edge: (min(edge[:2]), max(edge[:2])),
)


def edges(found) -> Edges:
    weights = np.array([weight for _, _, weight in found], np.float32) / 10
    return Edges(as_edges([edge[:2] for edge in found]), weights)


@given(graphs)
def test_the_forest_weighs_what_scipys_does(found):
    graph = edges(found)
    kept = strongest_forest(graph)
    ends = np.sort(graph.ends, axis=1).astype(np.int64).T
    costs = coo_matrix((1 - graph.weights.astype(np.float64), tuple(ends)), shape=(13, 13))
    expected = minimum_spanning_tree(costs.tocsr())
    assert len(kept.weights) == expected.nnz
    assert np.isclose((1 - kept.weights.astype(np.float64)).sum(), expected.sum())
    assert (least_of_components(kept.ends, 13) == least_of_components(graph.ends, 13)).all()


@given(graphs, st.integers(1, 40))
def test_the_forest_of_parts_is_the_forest_of_all(found, at):
    graph = edges(found)
    parts = [
        strongest_forest(graph.take(np.arange(len(found))[s])) for s in (slice(at), slice(at, None))
    ]
    one, other = strongest_forest(Edges.join(parts)), strongest_forest(graph)
    assert np.array_equal(np.sort(one.ends, axis=1), np.sort(other.ends, axis=1))


@given(graphs, st.integers(1, 14))
def test_nothing_is_larger_than_it_may_be_after_a_cut(found, most):
    stay, gone = cut_weakest(edges(found), most)
    sizes = Counter(least_of_components(stay.ends, 13).tolist())
    assert max(sizes.values()) <= most
    forest = strongest_forest(edges(found))
    assert len(stay.weights) + len(gone.weights) == len(forest.weights)


def test_a_cluster_falls_apart_at_its_weakest_edge():
    """Two triangles of 0.9 held together by 0.5: to have at most 3 nodes, 0.5 has to go."""
    graph = edges([(0, 1, 9), (1, 2, 9), (0, 2, 8), (3, 4, 9), (4, 5, 9), (2, 3, 5)])
    stay, gone = cut_weakest(graph, 3)
    assert gone.ends.tolist() == [[2, 3]]
    assert gone.weights.tolist() == [np.float32(0.5)]
    assert sorted(map(sorted, stay.ends.tolist())) == [[0, 1], [1, 2], [3, 4], [4, 5]]


def test_what_is_small_enough_is_left_alone():
    graph = edges([(0, 1, 9), (1, 2, 1)])
    stay, gone = cut_weakest(graph, 3)
    assert len(stay.weights) == 2 and not len(gone.weights)
