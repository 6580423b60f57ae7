"""Which cluster keeps which id."""

from __future__ import annotations

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from transforms.clustering import identity


def named(members: list[tuple[int, int, int | None]]) -> dict[int, int]:
    """(cluster, id, earlier cluster) of each row → the id of each cluster."""
    frame = pd.DataFrame(members, columns=["cluster", "id", "previous"])
    frame = frame.astype({"id": "Int64", "previous": "Int64"})
    won = identity.heirs(identity.claims(frame))
    least = frame.groupby("cluster")["id"].min()
    return {int(n): int(id) for n, id in identity.cluster_ids(least, won).items()}


def test_a_new_cluster_is_called_after_its_least_row():
    assert named([(7, 5, None), (7, 3, None)]) == {7: 3}


def test_an_old_one_keeps_its_id_though_a_lesser_row_has_come():
    assert named([(7, 5, 5), (7, 6, 5), (7, 3, None)]) == {7: 5}


def test_of_a_split_cluster_the_part_with_the_row_of_its_name_keeps_it():
    assert named([(1, 5, 5), (2, 6, 5), (2, 7, 5)]) == {1: 5, 2: 6}


def test_where_that_row_is_gone_the_largest_part_keeps_it():
    assert named([(1, 5, 4), (2, 6, 4), (2, 7, 4)]) == {1: 5, 2: 4}


def test_of_merged_clusters_the_one_with_most_rows_gives_the_id():
    assert named([(1, 2, 2), (1, 5, 5), (1, 6, 5)]) == {1: 5}


rows = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.booleans()), max_size=14)


@given(rows, st.sets(st.integers(0, 13)))
def test_no_two_clusters_have_one_id(found, gone):
    """Random earlier clusters, called after their least row; some rows are gone since."""
    least: dict[int, int] = {}
    for id, (_, before, known) in enumerate(found):
        if known:
            least.setdefault(before, id)
    members = [
        (now, id, least[before] if known else None)
        for id, (now, before, known) in enumerate(found)
        if id not in gone
    ]
    ids = named(members) if members else {}
    assert len(set(ids.values())) == len(ids)
    assert named(list(reversed(members))) == ids if members else True


@given(rows)
def test_what_is_untouched_keeps_its_id(found):
    first = named([(now, id, None) for id, (now, _, _) in enumerate(found)]) if found else {}
    again = [(now, id, first[now]) for id, (now, _, _) in enumerate(found)]
    assert (named(again) if again else {}) == first
