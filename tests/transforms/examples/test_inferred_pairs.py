"""Pairs that follow from others, against a brute-force closure over all triples."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.examples import inferred_pairs
from transforms.examples.records import RAW_SCHEMA, one_each
from transforms.hashing import split_by_hash

Known = dict[frozenset, int]
MANY = 50  # rounds: more than any sentence here has pairs


def raw(pairs: list[tuple[str, str, int]]) -> pa.RecordBatch:
    one, two, label = zip(*pairs, strict=True) if pairs else ((), (), ())
    columns = [
        pa.array([text.encode() for text in one], pa.large_binary()),
        pa.array([text.encode() for text in two], pa.large_binary()),
        pa.array(label, pa.float32()),
    ]
    return pa.RecordBatch.from_arrays([one_each(column) for column in columns], schema=RAW_SCHEMA)


def new_pairs(pairs: list[tuple[str, str, int]], rounds: int = MANY) -> Known:
    batch = raw(pairs)
    inferred = inferred_pairs.infer(inferred_pairs.views(batch), rounds)
    new, _, _ = inferred_pairs.drop_contradictions(inferred_pairs.hashed_pairs(batch), inferred)
    rows = list(zip(*(column.flatten().to_pylist() for column in new.columns), strict=True))
    found = {frozenset((one.decode(), two.decode())): int(label) for one, two, label in rows}
    assert len(found) == len(rows), "a pair, or its mirror, stands there twice"
    return found


def by_triples(known: Known) -> Known:
    """All that follows in one step and is not known, unless both labels do."""
    labels: dict[frozenset, set[int]] = {}
    sentences = sorted(set().union(*known)) if known else []
    for middle in sentences:
        for one, two in combinations([s for s in sentences if s != middle], 2):
            first, second = (known.get(frozenset((middle, each))) for each in (one, two))
            if None not in (first, second) and first + second:
                labels.setdefault(frozenset((one, two)), set()).add(int(first + second == 2))
    return {
        pair: min(values)
        for pair, values in labels.items()
        if len(values) == 1 and pair not in known
    }


graphs = st.dictionaries(
    st.sets(st.sampled_from("abcdefgh"), min_size=2, max_size=2).map(frozenset),
    st.integers(0, 1),
    min_size=1,
)


@given(graphs)
def test_many_rounds_find_all_that_follows(known: Known):
    pairs = [(*sorted(pair), label) for pair, label in known.items()]
    assert new_pairs(pairs) == by_triples(known)


@given(graphs, st.integers(1, 3), st.randoms())
@settings(max_examples=50)
def test_a_few_rounds_find_some_of_it_in_any_order(known: Known, rounds: int, random):
    pairs = [(*sorted(pair), label) for pair, label in known.items()]
    found = new_pairs(pairs, rounds)
    turned = [(b, a, y) if random.random() < 0.5 else (a, b, y) for a, b, y in pairs]
    random.shuffle(turned)
    assert new_pairs(turned, rounds) == found
    # A pair of both kinds may hide from few rounds that it follows with the other label too.
    everything = {pair for pair in permutations("abcdefgh", 2)}
    assert set(found) <= {frozenset(pair) for pair in everything} - set(known)


def test_by_hand():
    # a ~ b ~ c and b ≁ d: a ~ c follows, and so do a ≁ d and c ≁ d. d ≁ e says nothing of b and e.
    known = [("a", "b", 1), ("c", "b", 1), ("b", "d", 0), ("d", "e", 0)]
    expected = {frozenset("ac"): 1, frozenset("ad"): 0, frozenset("cd"): 0}
    assert new_pairs(known) == expected


def test_pairs_that_are_there_tell_whether_labels_are_transitive():
    # b ~ a, c, d: a ~ c is said, a ~ d is not, and c ≁ d is said against it.
    batch = raw([("a", "b", 1), ("c", "b", 1), ("b", "d", 1), ("c", "a", 1), ("c", "d", 0)])
    inferred = inferred_pairs.infer(inferred_pairs.views(batch.slice(0, 3)), MANY)
    new, same, other = inferred_pairs.drop_contradictions(
        inferred_pairs.hashed_pairs(batch), inferred
    )
    assert (new.num_rows, same, other) == (1, 1, 1)


def test_a_round_is_of_about_as_many_pairs_as_there_are():
    # 40 clusters of 30 sentences each; a pair of a cluster's is alike, one of two clusters' is not.
    rng = np.random.default_rng(1)
    one, two = rng.integers(0, 1200, (2, 20_000))
    near = one // 30 * 30 + two % 30  # half of the pairs within a cluster
    two = np.where(rng.random(20_000) < 0.5, near, two)
    pairs = {
        frozenset((f"s{a}", f"s{b}")): (f"s{a}", f"s{b}", int(a // 30 == b // 30))
        for a, b in zip(one, two, strict=True)
        if a != b
    }
    found = new_pairs(list(pairs.values()), rounds=1)
    assert 0.5 < len(found) / len(pairs) < 2
    clusters = {pair: {int(name[1:]) // 30 for name in pair} for pair in found}
    assert all(label == (len(clusters[pair]) == 1) for pair, label in found.items())


def test_nothing_follows_from_nothing():
    assert new_pairs([]) == {}
    assert new_pairs([("a", "b", 1), ("a", "a", 1), ("b", "b", 1)]) == {}


@given(st.lists(st.integers(0, 2**64 - 1)), st.integers(1, 5))
def test_buckets_part_all_rows(hashes: list[int], count: int):
    array = np.array(hashes, np.uint64)
    buckets = dict(split_by_hash(array, count))
    assert sorted(np.concatenate([[], *buckets.values()])) == list(range(len(hashes)))
    assert all((array[rows] % np.uint64(count) == bucket).all() for bucket, rows in buckets.items())
