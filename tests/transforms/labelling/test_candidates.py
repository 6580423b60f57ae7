from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.hashing import pair_hash
from transforms.labelling.candidates import (
    EQUAL,
    LABELLED,
    SIMILARITY,
    UNUSABLE,
    Candidates,
    ChoiceSettings,
    candidates_of,
)
from transforms.labelling.choice import CHOSEN_FOR, RANDOM, choose

SETTINGS = ChoiceSettings(pairs=20, random_pairs=8, threshold=0.5)


def table(rows: int, seed: int = 0) -> pa.RecordBatch:
    random = np.random.default_rng(seed)
    return pa.RecordBatch.from_pydict(
        {
            "sentence1": [f"question {n} {'xyz'[n % 3] * (n % 17)}" for n in range(rows)],
            "sentence2": [f"answer {n * 7} {'abc'[n % 3] * (n % 13)}" for n in range(rows)],
            "similarity": random.random(rows, np.float32),
        }
    )


def all_of(batches: list[pa.RecordBatch], settings: ChoiceSettings = SETTINGS) -> Candidates:
    found = Candidates()
    for batch in batches:
        found = found.with_more(candidates_of(batch, settings), settings)
    return found


@given(st.lists(st.integers(1, 80), max_size=6), st.integers(0, 9), st.permutations(range(8)))
def test_the_choice_does_not_depend_on_order_or_cuts(cuts: list[int], seed: int, order):
    batch = table(400, seed)
    bounds = [0, *np.cumsum(cuts).tolist(), 400]
    parts = [batch.slice(a, b - a) for a, b in pairwise(bounds) if b > a]
    parts = [parts[place] for place in order if place < len(parts)]
    whole, pieces = all_of([batch]), all_of(parts)

    assert choose(whole, SETTINGS).equals(choose(pieces, SETTINGS))
    assert whole.rows == pieces.rows


def test_what_is_chosen():
    batch = table(500)
    found = choose(all_of([batch]), SETTINGS).to_pandas()
    similarity = batch.column("similarity").to_numpy()
    random, doubtful = (found[found[CHOSEN_FOR] == name] for name in (RANDOM, "uncertain"))

    assert len(found) == found["pair"].nunique() == 20
    assert random["predicted"].tolist().count(1) == random["predicted"].tolist().count(0) == 4
    limit = np.sort(np.abs(similarity - 0.5))[60]  # 12 of doubt that differ from one another
    assert (np.abs(doubtful[SIMILARITY] - 0.5) <= limit).all()
    other = choose(all_of([batch], ChoiceSettings(20, 8, seed=1)), SETTINGS).to_pandas()
    assert set(random["pair"]) != set(other[other[CHOSEN_FOR] == RANDOM]["pair"])


def test_a_draw_is_uniform():
    """How often each of 40 pairs is among 10 of its class in 600 seeds: 150 on average."""
    batch = table(40)
    batch = batch.set_column(2, "similarity", pa.array(np.full(40, 0.9)))
    seen = np.zeros(40)
    for seed in range(600):
        settings = ChoiceSettings(10, 10, seed=seed)
        chosen = choose(all_of([batch], settings), settings)["sentence1"].to_pylist()
        seen += np.isin(np.array(batch.column(0).to_pylist()), chosen)

    assert seen.sum() == 6_000
    # each count is binomial(600, 1/4): a deviation of 10.6, five of them are beyond any chance
    assert np.abs(seen - 150).max() < 53


def test_labelled_pairs_equal_sentences_and_nulls_are_left_out():
    batch = pa.RecordBatch.from_pydict(
        {
            "sentence1": ["a", "c", "e", None, "g", " ", "m"],
            "sentence2": ["b", "d", "e", "f", "h", "i", "n"],
            "similarity": [0.5, 0.5, 0.5, 0.5, float("nan"), 0.5, None],
        }
    )
    known = pair_hash(pa.array(["b"], pa.large_string()), pa.array(["a"], pa.large_string()))
    settings = ChoiceSettings(5, 2, labelled=known)
    found = all_of([batch], settings)

    assert choose(found, settings)["sentence1"].to_pylist() == ["c"]
    assert found.skipped == {LABELLED: 1, EQUAL: 1, UNUSABLE: 4}


def test_a_pair_is_asked_once_whichever_way_round():
    sides = {"sentence1": ["a", "b"], "sentence2": ["b", "a"], "similarity": [0.5, 0.5]}
    batch = pa.RecordBatch.from_pydict(sides)
    one, other = all_of([batch]), all_of([batch.slice(1), batch.slice(0, 1)])

    assert choose(one, SETTINGS).num_rows == 1
    assert choose(one, SETTINGS).equals(choose(other, SETTINGS))


def test_not_ten_of_one_kind():
    kinds = [f"how do I reset my password {n}" for n in range(100)]
    others = [
        f"{chr(0x4E00 + 31 * n)}{chr(0x4E00 + 17 * n + 5)}{chr(0x4E00 + 7 * n)}" for n in range(30)
    ]
    batch = pa.RecordBatch.from_pydict(
        {
            "sentence1": [*kinds, *others],
            "sentence2": [*[f"password reset number {n}" for n in range(100)], *others[::-1]],
            "similarity": [*[0.5] * 100, *[0.6] * 30],  # the one kind is nearest
        }
    )
    settings = ChoiceSettings(pairs=12, random_pairs=0)
    chosen = choose(all_of([batch], settings), settings)["sentence1"].to_pylist()

    assert sum("password" in text for text in chosen) <= 2


def test_a_cluster_gives_a_few_and_more_where_nothing_else_is_left():
    batch = table(40).append_column("cluster", pa.array(["one"] * 37 + ["two"] * 3))
    settings = ChoiceSettings(pairs=6, random_pairs=0, cluster="cluster")
    numbers = [
        int(t.split()[1])
        for t in choose(all_of([batch], settings), settings)["sentence1"].to_pylist()
    ]

    assert sum(number >= 37 for number in numbers) == 3
    more = ChoiceSettings(pairs=30, random_pairs=0, cluster="cluster")
    assert choose(all_of([batch], more), more).num_rows == 30


def test_of_several_models_those_pairs_where_they_differ():
    batch = pa.RecordBatch.from_pydict(
        {
            "sentence1": ["a", "b", "c"],
            "sentence2": ["x", "y", "z"],
            "one": [0.5, 0.1, 0.9],
            "two": [0.5, 0.8, 0.8],
        }
    )
    settings = ChoiceSettings(pairs=1, random_pairs=0, similarities=("one", "two"))

    assert choose(all_of([batch], settings), settings)["sentence1"].to_pylist() == ["b"]


def test_memory_is_bounded_by_what_is_chosen():
    found = all_of([table(3_000, seed) for seed in range(3)])

    assert found.uncertain.num_rows == SETTINGS.uncertain_kept == 240
    assert all(part.num_rows == 8 for part in found.random.values())
    assert sum(found.rows.values()) == 9_000


@pytest.mark.parametrize("text", ["", "好", "a"])
def test_short_sentences_have_vectors(text: str):
    batch = pa.RecordBatch.from_pydict(
        {"sentence1": [text, "x"], "sentence2": ["y", "z"], "similarity": [0.5, 0.4]}
    )

    assert choose(all_of([batch]), SETTINGS).num_rows == (2 if text else 1)
