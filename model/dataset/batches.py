"""Batches of examples from TFRecord shards: bucketed by length, shuffled, the same for a seed.

A window of about 64 batches is read, parsed in bulk, sorted by the longer side's length and cut
into batches, whose order is then shuffled. So a batch holds sentences of about one length and is
padded to its own longest only. Examples trade places between windows and batches every epoch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from model.dataset.batch_plan import BatchPlan, EpochOrder, Records, plan_batches
from model.dataset.windows import (
    COMPRESSION,
    Reading,
    cut_window,
    pad_rows,
    read_windows,
    window_edges,
)
from model.keyed_random import draw


@dataclass(frozen=True)
class InputShare:
    """Which part of every global batch this process reads, and to how many replicas it goes."""

    worker: int = 0
    workers: int = 1
    replicas: int = 1  # on this worker


ALL = InputShare()


def count_examples(files: Iterable[str]) -> list[int]:
    """Examples in each file, about half a million a second."""

    def count(file: str) -> int:
        blocks = tf.data.TFRecordDataset(file, COMPRESSION).batch(65536)
        return sum(int(tf.size(block)) for block in blocks)

    return [count(file) for file in files]


def training_batches(
    records: Records,
    *,
    batch_size: int,
    order: EpochOrder,
    epochs: range = range(1),
    skip_steps: int = 0,
    share: InputShare = ALL,
) -> tf.data.Dataset:
    """These epochs, each with every example once, by (seed, epoch) alone.

    Elements: {"ids1": int32 [b, t], "ids2": int32 [b, t], "label": float32 [b], "row": int32 [b],
    "weight": float32 [b]}, or `text1` and `text2` (strings [b]) for encoders that read raw text;
    of triplets also a third side, `ids3` or `text3`; `teacher` where one has judged the pairs.
    `row` is the example's number in the global batch. A step gives one element for each of the
    share's replicas; a replica that no row falls to gets one made-up row of weight 0. All steps of
    an epoch have `batch_size` rows but one, which has the rest and may stand anywhere.
    `skip_steps` are left out of the first epoch, for resuming.
    """
    plan = _plan(records, batch_size, share)
    seed_key = tf.constant(np.random.SeedSequence(order.seed).generate_state(1)[0], tf.uint32)

    def one_epoch(number: tf.Tensor) -> tf.data.Dataset:
        skip = tf.where(number == epochs.start, tf.constant(skip_steps, tf.int64), 0)
        mine, key = plan.share(share.worker, share.workers), draw(seed_key, number)
        reading = Reading(records, plan, mine, key, order)
        return _epoch(reading, share.replicas, skip)

    numbers = tf.data.Dataset.range(epochs.start, epochs.stop)
    return numbers.flat_map(one_epoch).prefetch(4 * share.replicas)


def evaluation_batches(
    records: Records, *, batch_size: int, share: InputShare = ALL
) -> tf.data.Dataset:
    """Every example once, bucketed by length, never shuffled; elements as in training.

    With fewer files than workers each worker reads all of them, and takes its own rows.
    """
    first = tf.constant(0, tf.int64)
    if len(records.files) >= share.workers:
        plan = _plan(records, batch_size, share)
        reading = Reading(records, plan, plan.share(share.worker, share.workers))
        return _epoch(reading, share.replicas, first).prefetch(4 * share.replicas)
    everyone = InputShare(replicas=share.workers * share.replicas)
    plan = _plan(records, batch_size, everyone)
    batches = _epoch(Reading(records, plan, plan.share(0, 1)), everyone.replicas, first)

    def mine(index: tf.Tensor, _: dict) -> tf.Tensor:
        return index % everyone.replicas // share.replicas == share.worker

    batches = batches.enumerate().filter(mine).map(lambda _, batch: batch)
    return batches.prefetch(4 * share.replicas)


def _plan(records: Records, batch_size: int, share: InputShare) -> BatchPlan:
    rows = count_examples(records.files) if records.rows is None else records.rows
    return plan_batches(records.files, rows, batch_size=batch_size, workers=share.workers)


def _epoch(reading: Reading, replicas: int, skip: tf.Tensor) -> tf.data.Dataset:
    """An epoch's elements after the first `skip` steps; complete windows are skipped unparsed."""
    edges = window_edges(reading.plan, reading.key)
    skip_windows = tf.searchsorted(edges, [skip], side="right", out_type=tf.int64)[0] - 1
    windows = tf.data.Dataset.zip(
        tf.data.Dataset.from_tensor_slices(tf.stack([edges[:-1], edges[1:]], axis=1)),
        read_windows(reading, edges),
    ).skip(skip_windows)

    def cut(edge: tf.Tensor, serialised: tuple[tf.Tensor, ...]) -> tuple[dict, tf.Tensor]:
        return cut_window(reading, edge, serialised)

    def emit(window: dict, ends: tf.Tensor) -> tf.data.Dataset:
        elements = tf.data.Dataset.from_tensor_slices(_shares(ends, replicas))
        return elements.map(lambda part: pad_rows(window, part[0], part[1]))

    skip_elements = (skip - edges[skip_windows]) * replicas
    return windows.map(cut).prefetch(1).flat_map(emit).skip(skip_elements)


def _shares(ends: tf.Tensor, replicas: int) -> tf.Tensor:
    """Ends of steps → begin and end of each replica's rows: int64 [steps · replicas, 2]."""
    sizes = (ends[1:] - ends[:-1])[:, None]
    cuts = ends[:-1, None] + sizes * tf.range(replicas + 1, dtype=tf.int64) // replicas
    return tf.reshape(tf.stack([cuts[:, :-1], cuts[:, 1:]], axis=2), [-1, 2])
