import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from transforms.errors import UserError
from transforms.examples.sentence_groups import connected, hold_out

LINKS = st.lists(st.tuples(*[st.integers(0, 30)] * 3), min_size=1, max_size=40)


def partition(groups):
    return {frozenset(np.flatnonzero(groups == group).tolist()) for group in set(groups.tolist())}


@settings(deadline=None)
@given(LINKS)
def test_groups_are_the_connected_components_of_the_rows(links):
    links = np.array(links)
    first, second = np.concatenate([links[:, [0, 1]], links[:, [1, 2]]]).T
    graph = coo_matrix((np.ones(len(first)), (first, second)), shape=(31, 31))
    _, expected = connected_components(graph, directed=False)
    found = connected(links, 31)
    assert partition(found) == partition(expected)
    assert all(found[number] <= number for number in range(31))


def test_a_long_chain_is_one_group():
    chain = np.random.default_rng(1).permutation(5000)
    links = np.stack([chain[:-1], chain[1:]], axis=1)
    assert set(connected(links, 5000).tolist()) == {0}


def rows_of_groups(sizes):
    """Groups of so many pairs each: of a sentence of its own with so many others."""
    rng = np.random.default_rng(4)
    hashes = iter(rng.permutation(np.arange(10_000, dtype=np.uint64) * np.uint64(2**50 + 1)))
    rows = []
    for size in sizes:
        hub = next(hashes)
        rows += [(hub, next(hashes)) for _ in range(size)]
    return np.array(rows)


@settings(deadline=None)
@given(st.lists(st.integers(1, 5), min_size=40, max_size=60), st.randoms())
def test_whole_groups_are_held_out_up_to_the_fraction_whatever_the_order(sizes, random):
    rows = rows_of_groups(sizes)
    room = round(0.4 * len(rows))
    held_out = hold_out(rows, 0.4)
    taken = np.isin(rows, held_out)
    assert (taken[:, 0] == taken[:, 1]).all()
    assert room - 5 < taken[:, 0].sum() <= room  # the last group may not fit
    order = list(range(len(rows)))
    random.shuffle(order)
    assert hold_out(rows[order][:, ::-1], 0.4).tolist() == held_out.tolist()


def test_a_large_group_stays_in_training_and_the_others_speak():
    rows = rows_of_groups([500, *[1] * 500])  # a fifth of the rows is 200, a quarter of it 50
    taken = np.isin(rows[:, 0], hold_out(rows, 0.2))
    assert not taken[:500].any() and taken[500:].sum() == 200


def test_what_cannot_be_parted_is_reported():
    with pytest.raises(
        UserError, match=r"1 groups of pairs that share .* choose eval_split: pairs"
    ):
        hold_out(rows_of_groups([300]), 0.1)


def test_nothing_is_held_out_where_nothing_is_asked_for():
    assert hold_out(rows_of_groups([3, 4]), 0.0).tolist() == []
