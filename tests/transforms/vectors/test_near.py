"""All pairs within a distance, held against distances that NumPy sums in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from transforms.vectors import near
from transforms.vectors.near import Reach, near_pairs

DISTANCES = ("cosine", "euclidean", "manhattan")


def distances(u: np.ndarray, v: np.ndarray, distance: str) -> np.ndarray:
    """[n, d] and [m, d] → [n, m], term by term."""
    u, v = u.astype(np.float64), v.astype(np.float64)
    difference = u[:, None] - v[None]
    if distance == "manhattan":
        return np.abs(difference).sum(-1)
    if distance == "euclidean":
        return np.sqrt((difference**2).sum(-1))
    lengths = np.sqrt((u**2).sum(-1))[:, None] * np.sqrt((v**2).sum(-1))[None]
    products = (u[:, None] * v[None]).sum(-1)
    return 1 - np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)


def found(u, v, reach, **how) -> list[tuple[int, int]]:
    parts = list(near_pairs(u, v, reach, **how))
    return [
        pair
        for rows, columns in parts
        for pair in zip(rows.tolist(), columns.tolist(), strict=True)
    ]


def check(u: np.ndarray, v: np.ndarray | None, reach: Reach, **how) -> None:
    """None missing, none twice, in order, and what is more lies on the edge."""
    apart = distances(u, u if v is None else v, reach.distance)
    if v is None:
        apart[np.tril_indices(len(u))] = np.inf
    pairs = found(u, v, reach, **how)
    assert pairs == sorted(set(pairs))
    inside = set(zip(*(side.tolist() for side in np.nonzero(apart <= reach.radius)), strict=True))
    assert inside <= set(pairs)
    scale = max(1.0, float((u.astype(np.float64) ** 2).sum(-1).max(initial=0)))
    for pair in set(pairs) - inside:
        assert apart[pair] ** 2 <= reach.radius**2 + 1e-4 * scale


coordinates = st.sampled_from([0.0, 0.5, 1.0, -1.0, 3.0]) | st.floats(-4, 4, width=32)


def tables(rows: int) -> st.SearchStrategy:
    return st.integers(1, 9).flatmap(
        lambda d: hnp.arrays(
            np.float32, st.tuples(st.integers(0, rows), st.just(d)), elements=coordinates
        )
    )


@given(u=tables(24), distance=st.sampled_from(DISTANCES), radius=st.floats(0, 4))
def test_pairs_within_a_table_are_those_of_brute_force(u, distance, radius):
    check(u, None, Reach(distance, radius))


@given(both=tables(40), distance=st.sampled_from(DISTANCES), radius=st.floats(0, 4))
def test_pairs_of_two_tables_are_those_of_brute_force(both, distance, radius):
    check(both[: len(both) // 3], both[len(both) // 3 :], Reach(distance, radius))


@given(u=tables(24), distance=st.sampled_from(DISTANCES), data=st.data())
def test_ties_at_the_radius_are_found(u, distance, data):
    """The radius is a distance that occurs: the pair right on the edge must not get lost."""
    apart = distances(u, u, distance)
    radius = data.draw(st.sampled_from(sorted(set(apart.ravel().tolist()) or {0.0})))
    check(u, None, Reach(distance, radius))


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("threads", [1, 3])
def test_many_strips_and_tiles(distance, threads, monkeypatch):
    """Tiles of 32 × 48 rows: pairs of one strip, of neighbours, of far ones, and half tiles."""
    monkeypatch.setattr(near, "ROWS", 32)
    monkeypatch.setattr(near, "COLUMNS", 48)
    random = np.random.default_rng(5)
    u = random.normal(size=(333, 7)).astype(np.float32)
    u[200:240] = u[:40]  # the same vectors far apart
    u[77] = u[78] = 0
    radius = float(np.quantile(distances(u, u, distance), 0.03))
    check(u, None, Reach(distance, radius), threads=threads)
    check(u[:100], u[60:], Reach(distance, radius), threads=threads)


@pytest.mark.parametrize("distance", DISTANCES)
def test_both_orders_of_the_tables_find_the_same(distance):
    random = np.random.default_rng(6)
    u, v = (random.normal(size=(n, 12)).astype(np.float32) for n in (90, 140))
    reach = Reach(distance, float(np.quantile(distances(u, v, distance), 0.1)))
    assert set(found(u, v, reach)) == {(i, j) for j, i in found(v, u, reach)}


@pytest.mark.parametrize("distance", DISTANCES)
def test_more_pairs_than_there_is_room_for_at_first(distance, monkeypatch):
    monkeypatch.setattr(near, "ROOM", 4)
    u = np.ones((50, 3), np.float32)
    assert len(found(u, None, Reach(distance, 0.0))) == 50 * 49 // 2


@pytest.mark.parametrize("distance", DISTANCES)
def test_everything_is_near_without_a_limit(distance):
    u = np.random.default_rng(7).normal(size=(70, 3)).astype(np.float32)
    assert len(found(u, None, Reach(distance, np.inf))) == 70 * 69 // 2


@pytest.mark.parametrize("distance", DISTANCES)
def test_a_vector_that_is_no_number_hides_no_other(distance):
    u = np.ones((6, 3), np.float32)
    u[2], u[4, 1] = np.nan, np.inf
    good = [0, 1, 3, 5]
    expected = {(i, j) for i in good for j in good if i < j}
    assert {p for p in found(u, None, Reach(distance, 0.0)) if set(p) <= set(good)} == expected


def test_great_vectors_close_together_are_not_lost_to_cancellation():
    """|u|² is 3e8 and |u − v|² is 3e-4: a float32 product cannot tell them from equal ones."""
    u = np.full((2, 3), 10_000, np.float32)
    u[1] += np.float32(0.01)
    apart = float(distances(u, u, "euclidean")[0, 1])
    assert found(u, None, Reach("euclidean", apart)) == [(0, 1)]
