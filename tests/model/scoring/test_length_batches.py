"""Batches of a token budget: every sentence once, in the planned shapes, padded on the right."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.scoring.length_batches import LENGTHS, batches_by_length, packed_batches, padded

LENGTHS_STRATEGY = st.lists(st.integers(1, 700), min_size=0, max_size=300)


@given(lengths=LENGTHS_STRATEGY, budget=st.integers(1, 4096))
def test_every_sentence_is_in_one_batch_that_is_long_enough(lengths, budget):
    lengths = np.array(lengths, np.int64)
    batches = list(batches_by_length(lengths, budget=budget))
    taken = [position for batch in batches for position in batch.positions]
    assert sorted(taken) == list(range(len(lengths)))
    for batch in batches:
        assert lengths[batch.positions].max() <= batch.length
        assert len(batch.positions) <= batch.rows
        assert batch.rows * batch.length <= budget or batch.rows == 1


@given(lengths=LENGTHS_STRATEGY, budget=st.integers(64, 4096))
def test_only_the_last_batch_is_not_full(lengths, budget):
    batches = list(batches_by_length(np.array(lengths, np.int64), budget=budget))
    assert all(len(batch.positions) == batch.rows for batch in batches[:-1])


@given(lengths=LENGTHS_STRATEGY)
def test_a_sentence_at_its_own_length_has_the_same_shape_in_any_company(lengths):
    batches = batches_by_length(np.array(lengths, np.int64), own_length=True)
    for batch in batches:
        for position in batch.positions:
            (alone,) = batches_by_length(np.array([lengths[position]]), own_length=True)
            assert (alone.rows, alone.length) == (batch.rows, batch.length)


@given(lengths=LENGTHS_STRATEGY)
def test_shapes_are_few(lengths):
    shapes = {(b.rows, b.length) for b in batches_by_length(np.array(lengths, np.int64))}
    assert len(shapes) <= len(LENGTHS) + 1  # and one for sentences above the longest bucket


def test_a_batch_is_padded_on_the_right_and_its_spare_rows_repeat_the_last_sentence():
    values = np.array([7, 8, 9, 5])  # sentences [7 8 9] and [5]
    starts, lengths = np.array([0, 3]), np.array([3, 1])
    (batch,) = batches_by_length(
        lengths, budget=12
    )  # length 4, the first step that holds 3 → 3 rows
    ids = padded(values, starts, lengths, batch)
    assert ids.tolist() == [[5, 0, 0, 0], [7, 8, 9, 0], [7, 8, 9, 0]]
    assert ids.dtype == np.int32


@given(lengths=st.lists(st.integers(1, 90), max_size=300), tokens=st.integers(1, 500))
def test_packed_batches_hold_every_sentence_once_and_not_many_tokens(lengths, tokens):
    batches = packed_batches(np.array(lengths, np.int64), tokens)
    together = np.concatenate(batches) if batches else np.array([], int)
    assert sorted(together) == list(range(len(lengths)))
    ordered = [lengths[position] for position in together]
    assert ordered == sorted(lengths, reverse=True)
    for batch in batches:
        # The last sentence is the one that reaches what was asked.
        assert sum(lengths[position] for position in batch[:-1]) < tokens + max(lengths)
