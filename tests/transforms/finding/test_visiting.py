"""Who visits whom is compared once, whatever the cells are: held against all pairs, one by one."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.finding.visiting import Meeting, Visiting
from transforms.vector_blocks.vector_block import VectorBlock
from transforms.vector_blocks.visitors import visited_blocks
from transforms.vectors.near import Reach
from transforms.vectors.visits import VisitedCells, choose_visited

DRAWN = given(
    seed=st.integers(0, 999),
    cells=st.integers(1, 9),
    blocks=st.integers(1, 4),
    visits=st.integers(1, 9),
)
EVERY = Reach("euclidean", float("inf"))


def blocks_of(vectors, cells, keys):
    """The blocks of vectors, each row with its number in place of a sentence."""
    visits = cells.nearest(vectors)
    homes = cells.homes(visits, keys)
    found = []
    for number in range(int(cells.blocks.max()) + 1):
        rows = np.flatnonzero(cells.blocks[homes] == number)
        rows = rows[np.argsort(homes[rows], kind="stable")]
        found.append(block(vectors, homes, visits, rows))
    return found, visits, cells.cells[homes]


def block(vectors, homes, visits, rows):
    names = pa.array([str(row) for row in rows], pa.large_string())
    return VectorBlock(names, vectors[rows], np.zeros(1, int), None, homes[rows], visits[rows])


def visitors(blocks, number, search):
    """Copies of who comes to a block from others, as the exchange brings them."""
    parts = []
    for other, sent in enumerate(blocks):
        rows, to = visited_blocks(sent, other, search.cells, search.visits)
        parts.append((sent, rows[to == number]))
    rows = [row for sent, chosen in parts for row in np.array(sent.sentences)[chosen].tolist()]
    vectors, homes, visits = (
        np.concatenate([getattr(sent, name)[chosen] for sent, chosen in parts])
        for name in ("vectors", "homes", "visits")
    )
    names = pa.array(rows, pa.large_string())
    return VectorBlock(names, vectors, np.zeros(1, int), None, homes, visits)


def meet(home, guests, search, keeps, seen, compared, reach=EVERY):
    if len(home) and len(guests):
        for one, two in Meeting(home, guests, search, reach, keeps).near(2, compared.append):
            names = (side.take(pa.array(rows)).to_pylist() for side, rows in
                     ((home.sentences, one), (guests.sentences, two)))  # fmt: skip
            seen.update((int(a), int(b)) for a, b in zip(*names, strict=True))


def drawn(seed, count):
    random = np.random.default_rng(seed)
    return random.normal(size=(count, 5)).astype(np.float32), random.integers(9, size=count).astype(
        np.uint64
    )


@settings(max_examples=25, deadline=None)
@DRAWN
def test_each_pair_of_a_table_that_visits_is_compared_once(seed, cells, blocks, visits):
    vectors, keys = drawn(seed, 60)
    chosen = choose_visited(vectors, cells, blocks, "euclidean")
    search = Visiting(chosen, min(visits, chosen.most_visits))
    made, visited, cell = blocks_of(vectors, chosen, keys)
    seen, compared = Counter(), []
    for number, own in enumerate(made):
        meet(own, own, search, "lesser", seen, compared)
        meet(own, visitors(made, number, search), search, "lesser", seen, compared)
    near = visited[:, : search.visits]
    expected = {
        (a, b) for a in range(60) for b in range(a) if cell[b] in near[a] or cell[a] in near[b]
    }
    assert set(map(tuple, (sorted(pair, reverse=True) for pair in seen))) == expected
    assert sum(seen.values()) == len(expected) == sum(compared)


@settings(max_examples=25, deadline=None)
@DRAWN
def test_each_pair_of_two_tables_that_visits_is_compared_once(seed, cells, blocks, visits):
    vectors, keys = drawn(seed, 70)
    chosen = choose_visited(vectors, cells, blocks, "euclidean")
    search = Visiting(chosen, min(visits, chosen.most_visits))
    left, near1, cell1 = blocks_of(vectors[:40], chosen, keys[:40])
    right, near2, cell2 = blocks_of(vectors[40:], chosen, keys[40:])
    seen, compared = Counter(), []
    for number in range(len(left)):
        turned = Counter()
        for guests in (left[number], visitors(left, number, search)):
            meet(right[number], guests, search, "all", turned, compared)
        seen.update({(b, a): count for (a, b), count in turned.items()})
        for guests in (right[number], visitors(right, number, search)):
            meet(left[number], guests, search, "one-way", seen, compared)
    visited1, visited2 = near1[:, : search.visits], near2[:, : search.visits]
    expected = {
        (a, b)
        for a in range(40)
        for b in range(30)
        if cell2[b] in visited1[a] or cell1[a] in visited2[b]
    }
    assert set(seen) == expected
    assert sum(seen.values()) == len(expected) == sum(compared)


@pytest.mark.parametrize("distance", ["cosine", "euclidean", "manhattan"])
def test_near_pairs_of_those_that_meet(distance):
    """With every cell visited nothing is left out, and only what is near is found."""
    vectors, keys = drawn(3, 200)
    chosen = choose_visited(vectors, 6, 1, distance)
    (own,), _, _ = blocks_of(vectors, chosen, keys)
    radius = {"cosine": 0.1, "euclidean": 1.0, "manhattan": 2.0}[distance]
    seen = Counter()
    meet(own, own, Visiting(chosen, 6), "lesser", seen, [], Reach(distance, radius))
    expected = set()
    for a in range(200):
        for b in range(a):
            u, v = vectors[a].astype(float), vectors[b].astype(float)
            apart = {
                "cosine": 1 - u @ v / np.sqrt((u @ u) * (v @ v)),
                "euclidean": np.sqrt(((u - v) ** 2).sum()),
                "manhattan": np.abs(u - v).sum(),
            }[distance]
            if apart <= radius:
                expected.add((a, b))
    assert {tuple(sorted(pair, reverse=True)) for pair in seen} == expected
    assert len(expected) > 10 and set(seen.values()) == {1}


def test_a_cell_too_large_for_a_block_is_divided():
    """90 % of the vectors in one spot: four blocks hold a quarter of all each, more or less."""
    random = np.random.default_rng(1)
    vectors = np.concatenate(
        [random.normal(size=(900, 3)) * 1e-3, 9 + random.normal(size=(100, 3))]
    )
    vectors = vectors.astype(np.float32)
    cells = choose_visited(vectors, 8, 4, "euclidean")
    keys = random.integers(1 << 40, size=1000).astype(np.uint64)
    homes = cells.homes(cells.nearest(vectors), keys)
    sizes = np.bincount(cells.blocks[homes], minlength=4)
    assert sizes.max() < 450
    again = VisitedCells.from_bytes(cells.to_bytes(), "euclidean")
    assert (again.homes(again.nearest(vectors), keys) == homes).all()
