"""Batches of pairs that share sentences: the same examples, fewer sentences in a step."""

from __future__ import annotations

from collections import Counter

import numpy as np
import tensorflow as tf

from model.dataset.batch_plan import EpochOrder, Records
from model.dataset.batches import training_batches
from model.dataset.neighbours import arrange, neighbour_order, sentences_a_row


def groups(count: int, size: int) -> list[tuple[list[int], list[int], float]]:
    """All pairs of each of `count` groups of `size` sentences of one to three ids, shuffled."""
    pairs = []
    for group in range(count):
        own = [[2 + group * size + n] * (1 + n % 3) for n in range(size)]
        pairs += [(own[a], own[b], float(a % 2)) for a in range(size) for b in range(a)]
    return [pairs[n] for n in np.random.default_rng(5).permutation(len(pairs))]


def write(folder, pairs, files=4) -> Records:
    def ids(values):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    paths, rows = [], []
    for number in range(files):
        path, part = str(folder / f"{number}.gz"), pairs[number::files]
        with tf.io.TFRecordWriter(path, "GZIP") as writer:
            for first, second, label in part:
                feature = {"ids1": ids(first), "ids2": ids(second)}
                feature["label"] = tf.train.Feature(float_list=tf.train.FloatList(value=[label]))
                example = tf.train.Example(features=tf.train.Features(feature=feature))
                writer.write(example.SerializeToString())
        paths.append(path)
        rows.append(len(part))
    return Records(tuple(paths), tuple(rows))


def pairs_of(batch) -> list[tuple]:
    sides = [
        [tuple(int(i) for i in row if i) for row in np.asarray(batch[name])]
        for name in ("ids1", "ids2")
    ]
    return list(zip(*sides, np.asarray(batch["label"]).tolist(), strict=True))


def epochs(records, *, by_length, epochs=range(1)):
    order = EpochOrder(3, by_length=by_length)
    batches = training_batches(records, batch_size=64, order=order, epochs=epochs)
    return [pairs_of(batch) for batch in batches]


def distinct(batch) -> int:
    return len({side for pair in batch for side in pair[:2]})


def test_every_example_comes_once_an_epoch_and_steps_hold_few_sentences(tmp_path):
    pairs = groups(40, 12)  # 2,640 pairs of 480 sentences
    (tmp_path / "arranged").mkdir()
    records = write(tmp_path, pairs)

    near, sentences = arrange(records, str(tmp_path / "arranged"), 64)
    batches = epochs(near, by_length=False)

    wanted = Counter((tuple(a), tuple(b), label) for a, b, label in pairs)
    assert Counter(pair for batch in batches for pair in batch) == wanted
    assert 0.5 < sentences < 1.3
    # 64 pairs at random have about 115 sentences; 8 pairs of one group at least 5, often 9
    far = epochs(records, by_length=True)
    assert np.mean(list(map(distinct, batches))) < 0.75 * np.mean(list(map(distinct, far)))


def test_steps_meet_other_blocks_in_the_next_epoch(tmp_path):
    (tmp_path / "arranged").mkdir()
    near, _ = arrange(write(tmp_path, groups(40, 12)), str(tmp_path / "arranged"), 64)

    first, second = (
        {frozenset(batch) for batch in epochs(near, by_length=False, epochs=range(n, n + 1))}
        for n in (0, 1)
    )

    assert not first & second
    again = epochs(near, by_length=False)
    assert {frozenset(batch) for batch in again} == first


def test_pairs_that_share_sentences_are_near_each_other():
    # two chains, a-b-c-d and w-x-y-z, mixed
    sides = np.array([[1, 2], [11, 12], [3, 4], [13, 14], [2, 3], [12, 13]], np.uint64)

    order = neighbour_order(sides)

    assert sorted(order) == list(range(6))
    chains = [set((sides[row] > 10).tolist()) == {True} for row in order]
    assert chains in ([True] * 3 + [False] * 3, [False] * 3 + [True] * 3)


def test_sentences_are_counted_block_by_block():
    # of [1 2] [2 3] there are three, of [3 3] one: 4 / 3
    assert sentences_a_row(np.array([[1, 2], [2, 3], [3, 3]]), 2) == 4 / 3
