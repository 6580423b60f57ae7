"""What cells exclude can never be a pair that is near."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.transforms.vectors.test_near import DISTANCES, distances
from transforms.vectors import cells
from transforms.vectors.near import Reach

pytest.importorskip("faiss")


def grouped(rows: int, seed: int, *, groups: int = 6, width: int = 5) -> np.ndarray:
    """Vectors around a few centres, some equal, some zero."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(groups, width)) * 3
    vectors = centres[random.integers(groups, size=rows)] + random.normal(size=(rows, width)) * 0.3
    vectors[: rows // 10] = vectors[rows // 2]
    vectors[rows // 10 : rows // 8] = 0
    return vectors.astype(np.float32)


def reached(vectors, found: cells.Cells, reach: Reach) -> tuple[np.ndarray, np.ndarray]:
    apart = found.distances(vectors)
    keys = np.arange(len(vectors), dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    homes = cells.homes(found.centroids, apart, keys)
    own = apart[np.arange(len(homes)), homes]
    widest = np.array([own[homes == c].max(initial=0) for c in range(len(found.centroids))])
    return cells.may_reach(found, apart, homes, widest, found.radius(reach)), homes


@given(
    seed=st.integers(0, 10_000),
    distance=st.sampled_from(DISTANCES),
    radius=st.floats(0, 3),
    count=st.integers(1, 12),
)
def test_no_near_pair_is_excluded(seed, distance, radius, count):
    vectors = grouped(120, seed)
    found = cells.Cells(distance, cells.choose_centroids(vectors[::2], count, distance))
    may, homes = reached(vectors, found, Reach(distance, radius))
    first, second = np.nonzero(distances(vectors, vectors, distance) <= radius)
    assert may[first, homes[second]].all()
    assert may[second, homes[first]].all()


@pytest.mark.parametrize("distance", DISTANCES)
def test_cells_do_exclude(distance):
    vectors = grouped(2_000, 3)
    radius = {"cosine": 0.001, "euclidean": 0.3, "manhattan": 0.5}[distance]
    found = cells.Cells(distance, cells.choose_centroids(vectors[:500], 6, distance))
    may, _ = reached(vectors, found, Reach(distance, radius))
    assert may.mean() < 0.6


def test_a_cell_with_more_than_its_share_is_divided_by_a_hash():
    """Two points for 8 cells, one with 30 of 40 vectors: 6 cells of 5 and 2 of 5."""
    vectors = np.array([[0, 1]] * 30 + [[2, 0]] * 10, np.float32)
    centroids = cells.choose_centroids(vectors, 8, "euclidean")
    assert centroids.tolist() == [[0, 1]] * 6 + [[2, 0]] * 2
    apart = cells.Cells("euclidean", centroids).distances(vectors)
    homes = cells.homes(centroids, apart, np.arange(40, dtype=np.uint64))
    assert np.bincount(homes).tolist() == [5] * 8


def test_centroids_do_not_depend_on_the_order_of_the_sample():
    vectors = grouped(300, 4)
    shuffled = vectors[np.random.default_rng(0).permutation(len(vectors))]
    one, other = (cells.choose_centroids(v, 5, "euclidean") for v in (vectors, shuffled))
    assert np.array_equal(one, other)


def test_the_nearest_cells_of_a_vector():
    apart = np.array([[3.0, 1.0, 2.0], [0.0, 0.0, 5.0]])
    assert cells.nearest_cells(apart, 2).tolist() == [[False, True, True], [True, True, False]]
