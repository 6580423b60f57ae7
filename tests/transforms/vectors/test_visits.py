"""Which cells vectors visit, held against NumPy's sorted distances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from transforms.vectors import visits
from transforms.vectors.kernels import LANES, greatest
from transforms.vectors.visits import VisitedCells, choose_visited, nearest_points, principal_axes

few_values = st.sampled_from([0.0, 1.0, -1.0, 2.5])  # many are equal


@given(
    tile=hnp.arrays(
        np.float32, st.tuples(st.integers(0, 4), st.integers(1, 3 * LANES)), elements=few_values
    ),
    wanted=st.integers(1, 40),
)
def test_the_greatest_values_of_each_row_in_order(tile, wanted):
    out = np.full((len(tile), min(wanted, tile.shape[1])), -1, np.int32)
    greatest(tile, out)
    expected = np.argsort(-tile, axis=1, kind="stable")[:, : out.shape[1]]
    assert out.tolist() == expected.tolist()


@pytest.mark.parametrize("odd", [np.nan, -np.inf, np.inf])
def test_no_place_is_there_twice_whatever_a_row_holds(odd):
    tile = np.random.default_rng(1).normal(size=(4, 9)).astype(np.float32)
    tile[1, 3:], tile[2], tile[3, 4] = odd, odd, odd
    out = np.empty((4, 6), np.int32)
    greatest(tile, out)
    assert [len(set(row)) for row in out.tolist()] == [6, 6, 6, 6]
    assert out[0].tolist() == np.argsort(-tile[0])[:6].tolist()


@pytest.mark.parametrize("distance", ["euclidean", "manhattan", "cosine"])
def test_cells_are_visited_in_the_order_of_their_distance(distance, monkeypatch):
    monkeypatch.setattr(visits, "_AT_ONCE", 16)
    random = np.random.default_rng(2)
    vectors, points = random.normal(size=(50, 7)), random.normal(size=(20, 7))
    cells = VisitedCells(distance, np.eye(7, dtype="f4"), points.astype("f4"), np.ones(20), [0])
    seen = vectors / np.linalg.norm(vectors, axis=1, keepdims=True) * 1.0
    seen = seen if distance == "cosine" else vectors
    expected = np.argsort(((seen[:, None] - points[None]) ** 2).sum(-1), axis=1)
    assert cells.nearest(vectors.astype("f4")).tolist() == expected.tolist()


def test_of_many_dimensions_the_principal_axes_tell_what_is_near():
    """Vectors of 200 dimensions that differ along five: five axes keep every distance."""
    random = np.random.default_rng(3)
    turn = np.linalg.qr(random.normal(size=(200, 5)))[0].T
    vectors = (random.normal(size=(80, 5)) @ turn + 3).astype(np.float32)
    axes = principal_axes(vectors, 5)
    assert axes.shape == (200, 5)
    along, apart = vectors @ axes, ((vectors[:, None] - vectors[None]) ** 2).sum(-1)
    assert np.allclose(((along[:, None] - along[None]) ** 2).sum(-1), apart, atol=1e-3)


def test_cells_of_many_dimensions_are_written_and_read():
    vectors = np.random.default_rng(4).normal(size=(300, 120)).astype(np.float32)
    cells = choose_visited(vectors, 12, 3, "cosine")
    assert cells.axes.shape == (120, visits.AXES) and cells.centroids.shape == (12, visits.AXES)
    read = VisitedCells.from_bytes(cells.to_bytes(), "cosine")
    assert read.nearest(vectors).tolist() == cells.nearest(vectors).tolist()
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    apart = ((unit[:, None] @ cells.axes - cells.centroids[None]) ** 2).sum(-1)
    assert (cells.nearest(vectors)[:, 0] == apart.reshape(300, 12).argmin(axis=1)).mean() > 0.99


def test_what_is_no_number_visits_each_cell_once():
    vectors = np.random.default_rng(5).normal(size=(40, 4)).astype(np.float32)
    cells = choose_visited(vectors, 6, 2, "euclidean")
    vectors[0], vectors[1, 2], vectors[2] = np.nan, np.inf, 1e30
    assert all(len(set(row)) == len(row) for row in cells.nearest(vectors).tolist())


def test_the_nearest_of_no_vectors():
    assert nearest_points(np.eye(3, dtype="f4"), np.zeros((0, 3), "f4"), 2).shape == (0, 2)
