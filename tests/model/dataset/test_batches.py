from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.dataset.batch_plan import EpochOrder, Records, plan_batches
from model.dataset.batches import InputShare, count_examples, evaluation_batches, training_batches
from tests.model.tiny_examples import make_pairs, write_shards

SIZES = [37, 0, 61, 12, 90]


@pytest.fixture(scope="module")
def pairs():
    return make_pairs(rows=sum(SIZES), longest=30)


@pytest.fixture(scope="module")
def shards(pairs, tmp_path_factory):
    return write_shards(tmp_path_factory.mktemp("shards"), "train", pairs, sizes=SIZES)


def rows_of(batch):
    """The batch's real rows as plain Python, padding taken off."""
    return [
        (tuple(np.trim_zeros(a, "b")), tuple(np.trim_zeros(b, "b")), float(label))
        for a, b, label, weight in zip(
            batch["ids1"], batch["ids2"], batch["label"], batch["weight"], strict=True
        )
        if weight
    ]


def plain(pairs):
    return Counter((tuple(a), tuple(b), label) for a, b, label in pairs)


def read(shards, **options):
    first, order = options.pop("epoch", 0), EpochOrder(options.pop("seed", 7))
    epochs = range(first, first + options.pop("epochs", 1))
    order = replace(order, length_noise=options.pop("length_noise", 0.0))
    options = {"batch_size": 16, "order": order, "epochs": epochs} | options
    return list(training_batches(records_of(shards), **options).as_numpy_iterator())


def records_of(shards, sizes=SIZES, **options):
    return Records(tuple(shards), tuple(sizes), **options)


def epoch(shards, **options):
    return _epoch(tuple(shards), **options)


@cache
def _epoch(shards, **options):
    return read(shards, **options)


def test_counts_the_examples_of_each_file(shards):
    assert count_examples(shards) == SIZES


def test_every_example_comes_once_and_one_batch_is_smaller(shards, pairs):
    batches = epoch(shards)
    assert plain(pairs) == Counter(row for batch in batches for row in rows_of(batch))
    # 200 pairs in batches of 16: twelve whole ones and one of 8
    assert sorted(len(batch["label"]) for batch in batches) == [8] + [16] * 12
    assert all((batch["weight"] == 1).all() for batch in batches)


def test_both_sides_are_padded_to_the_batchs_own_longest_on_the_right(shards):
    for batch in epoch(shards):
        longest = max(max(len(a), len(b)) for a, b, _ in rows_of(batch))
        width = -(-longest // 4) * 4
        assert batch["ids1"].shape == batch["ids2"].shape == (len(batch["label"]), width)
        assert batch["ids1"].dtype == batch["ids2"].dtype == np.int32
        for side in (batch["ids1"], batch["ids2"]):
            assert (np.diff((side > 0).astype(int), axis=1) <= 0).all()


def test_a_batch_holds_pairs_of_about_one_length(shards, pairs):
    tokens = sum(batch["ids1"].size + batch["ids2"].size for batch in epoch(shards))
    each_to_its_own = sum(2 * max(len(a), len(b)) for a, b, _ in pairs)
    assert tokens < 1.25 * each_to_its_own  # in batches of any 16 it is 1.43 times as much


def test_noise_lets_lengths_differ_more_and_loses_nothing(shards, pairs):
    strict, noisy = epoch(shards), epoch(shards, length_noise=0.5)
    assert plain(pairs) == Counter(row for batch in noisy for row in rows_of(batch))
    widths = [sum(batch["ids1"].size for batch in batches) for batches in (strict, noisy)]
    assert widths[0] < widths[1] < 1.5 * widths[0]
    spread = [
        np.mean([np.std([max(len(a), len(b)) for a, b, _ in rows_of(batch)]) for batch in batches])
        for batches in (strict, noisy)
    ]
    assert spread[1] > 1.2 * spread[0]


def test_an_epoch_depends_on_seed_and_epoch_alone(shards):
    first, again = epoch(shards), read(shards)
    assert all(
        np.array_equal(a[name], b[name]) for a, b in zip(first, again, strict=True) for name in a
    )
    order = [row for batch in first for row in rows_of(batch)]
    for other in (epoch(shards, seed=8), epoch(shards, epoch=1)):
        assert [row for batch in other for row in rows_of(batch)] != order


def test_batches_are_made_up_of_other_examples_every_epoch(shards):
    together = [{frozenset(rows_of(batch)) for batch in epoch(shards, epoch=e)} for e in (0, 1)]
    assert not together[0] & together[1]


@pytest.mark.parametrize("skip", [5, 13])
def test_skipping_steps_goes_on_where_the_epoch_was_left(shards, skip):
    whole = epoch(shards, epochs=2)
    rest = epoch(shards, epochs=2, skip_steps=skip)
    assert [rows_of(batch) for batch in rest] == [rows_of(batch) for batch in whole[skip:]]


def test_epochs_that_follow_one_another_are_those_asked_for_one_by_one(shards):
    both = epoch(shards, epochs=2)
    assert [rows_of(b) for b in both] == [
        rows_of(b) for number in (0, 1) for b in epoch(shards, epoch=number)
    ]


@pytest.mark.parametrize("noise", [0.0, 0.5])
@pytest.mark.parametrize(("workers", "replicas"), [(1, 4), (2, 2), (3, 1)])
def test_step_t_has_the_same_examples_on_any_number_of_replicas(shards, workers, replicas, noise):
    alone = epoch(shards, length_noise=noise)
    shared = [
        epoch(shards, share=InputShare(worker, workers, replicas), length_noise=noise)
        for worker in range(workers)
    ]
    for step, batch in enumerate(alone):
        parts = [part for mine in shared for part in mine[step * replicas : (step + 1) * replicas]]
        assert len(parts) == workers * replicas
        assert Counter(rows_of(batch)) == Counter(row for part in parts for row in rows_of(part))
        assert all(len(part["label"]) >= 1 for part in parts)
        assert sum(part["weight"].sum() for part in parts) == len(batch["label"])


def test_a_worker_reads_its_own_files_only(shards):
    plan = plan_batches(shards, SIZES, batch_size=16, workers=2)
    of_worker = [{file for s in plan.share(w, 2) for file in plan.streams[s]} for w in (0, 1)]
    assert not of_worker[0] & of_worker[1]
    assert of_worker[0] | of_worker[1] == set(shards)


def test_six_rows_fall_to_their_steps_as_the_worked_example_says(tmp_path):
    # Rows a…d in one file and e, f in the other, told apart by their first id.
    pairs = [([number], [9], 0.0) for number in range(2, 8)]
    shards = write_shards(tmp_path, "eval", pairs, sizes=[4, 2])
    alone = [
        batch["ids1"][:, 0].tolist()
        for batch in evaluation_batches(
            records_of(shards, [4, 2]), batch_size=4
        ).as_numpy_iterator()
    ]
    assert alone == [[2, 3, 6, 7], [4, 5]]
    first, second = (
        [
            (batch["ids1"][:, 0].tolist(), batch["row"].tolist(), batch["weight"].tolist())
            for batch in evaluation_batches(
                records_of(shards, [4, 2]), batch_size=4, share=InputShare(worker, 2)
            ).as_numpy_iterator()
        ]
        for worker in range(2)
    )
    assert first == [([2, 3], [0, 1], [1, 1]), ([4, 5], [0, 1], [1, 1])]
    assert second == [([6, 7], [2, 3], [1, 1]), ([1], [0], [0])]  # 1: a synthetic row


def test_windows_are_cut_and_carried_over_exactly(shards, pairs, monkeypatch):
    monkeypatch.setattr("model.dataset.batch_plan.WINDOW_STEPS", 3)
    for number in range(2):
        batches = read(shards, epoch=number)
        assert plain(pairs) == Counter(row for batch in batches for row in rows_of(batch))
        rest = read(shards, epoch=number, skip_steps=8)
        assert [rows_of(b) for b in rest] == [rows_of(b) for b in batches[8:]]


@settings(max_examples=3, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 23), min_size=1, max_size=5).filter(sum),
    batch_size=st.integers(1, 30),
    workers=st.integers(1, 2),
)
def test_nothing_is_lost_or_doubled_whatever_the_sizes(
    tmp_path_factory, sizes, batch_size, workers
):
    pairs = make_pairs(rows=sum(sizes))
    shards = write_shards(tmp_path_factory.mktemp("any"), "train", pairs, sizes=sizes)
    options = {"batch_size": batch_size, "order": EpochOrder(7)}
    records = Records(tuple(shards))  # counted
    seen = [
        list(training_batches(records, share=InputShare(w, workers), **options).as_numpy_iterator())
        for w in range(workers)
    ]
    steps = -(-sum(sizes) // batch_size)
    assert [len(mine) for mine in seen] == [steps] * workers
    assert plain(pairs) == Counter(row for mine in seen for b in mine for row in rows_of(b))


def test_evaluation_gives_every_example_once_in_the_same_order_always(shards, pairs):
    batches = list(evaluation_batches(records_of(shards), batch_size=32).as_numpy_iterator())
    again = list(evaluation_batches(records_of(shards), batch_size=32).as_numpy_iterator())
    assert [rows_of(b) for b in batches] == [rows_of(b) for b in again]
    assert plain(pairs) == Counter(row for batch in batches for row in rows_of(batch))


@pytest.mark.parametrize("share", [(2, 1), (2, 2)])
def test_an_example_has_the_same_number_in_its_batch_on_any_number_of_replicas(shards, share):
    def numbered(batch):
        return Counter(
            (number, row)
            for number, row in zip(
                batch["row"][batch["weight"] > 0].tolist(), rows_of(batch), strict=True
            )
        )

    workers, replicas = share
    alone = epoch(shards)
    shared = [epoch(shards, share=InputShare(worker, *share)) for worker in range(workers)]
    for step, batch in enumerate(alone):
        assert sorted(batch["row"].tolist()) == list(range(len(batch["label"])))
        parts = [part for mine in shared for part in mine[step * replicas : (step + 1) * replicas]]
        assert numbered(batch) == sum((numbered(part) for part in parts), Counter())


def test_workers_share_the_evaluation_even_of_one_file(shards, pairs):
    parts = [
        list(
            evaluation_batches(
                records_of(shards[:1], SIZES[:1]), batch_size=16, share=InputShare(worker, 2)
            ).as_numpy_iterator()
        )
        for worker in range(2)
    ]
    assert [len(part) for part in parts] == [3, 3]  # 37 pairs in batches of 16
    seen = Counter(row for part in parts for batch in part for row in rows_of(batch))
    assert seen == plain(pairs[:37])


def test_raw_text_comes_through_as_strings(tmp_path):
    pairs = [("how old", "what age", 1.0), ("借款", "还款怎么办", 0.0), ("a", "b", 0.0)]
    shards = write_shards(tmp_path, "train", pairs, sizes=[2, 1])
    batches = training_batches(
        records_of(shards, [2, 1], raw_text=True),
        batch_size=2,
        order=EpochOrder(7),
        share=InputShare(replicas=2),
    ).as_numpy_iterator()
    seen = [
        (a.decode(), b.decode(), float(label))
        for batch in batches
        for a, b, label, weight in zip(
            batch["text1"], batch["text2"], batch["label"], batch["weight"], strict=True
        )
        if weight
    ]
    assert sorted(seen) == sorted(pairs)
