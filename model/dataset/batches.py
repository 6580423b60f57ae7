"""Batches of examples from TFRecord shards: bucketed by length, shuffled, the same for a seed.

A window of about 64 batches is read, parsed in bulk, sorted by the longer side's length and cut
into batches, whose order is then shuffled. So a batch holds sentences of about one length and is
padded to its own longest only. Examples trade places between windows and batches every epoch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from model.dataset.batch_plan import BatchPlan, plan_batches
from model.dataset.windows import COMPRESSION, cut_window, pad_rows, read_windows, window_edges
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
    files: Sequence[str],
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    epochs: int = 1,
    skip_steps: int = 0,
    share: InputShare = ALL,
    rows: Sequence[int] | None = None,
    raw_text: bool = False,
    triplets: bool = False,
    length_noise: float = 0.0,
) -> tf.data.Dataset:
    """So many epochs from `epoch` on, each with every example once, by (seed, epoch) alone.

    Elements: {"ids1": int32 [b, t], "ids2": int32 [b, t], "label": float32 [b], "row": int32 [b],
    "weight": float32 [b]}, or `text1` and `text2` (strings [b]) for encoders that read raw text;
    with `triplets` also a third side, `ids3` or `text3`.
    `row` is the example's number in the global batch. A step gives one element for each of the
    share's replicas; a replica that no row falls to gets one made-up row of weight 0. All steps of
    an epoch have `batch_size` rows but one, which has the rest and may stand anywhere.
    `skip_steps` are left out of the first epoch, for resuming.
    `rows` are the examples in each file, counted when not given. `length_noise` orders them by
    their length times a random factor of 1 ± half of it, so that batches are more like the whole.
    """
    plan = _plan(files, rows, batch_size, share)
    seed_key = tf.constant(np.random.SeedSequence(seed).generate_state(1)[0], tf.uint32)

    def one_epoch(number: tf.Tensor) -> tf.data.Dataset:
        skip = tf.where(number == epoch, tf.constant(skip_steps, tf.int64), 0)
        key = draw(seed_key, number)
        return _epoch(plan, share, (raw_text, triplets), key, skip, length_noise)

    numbers = tf.data.Dataset.range(epoch, epoch + epochs)
    return numbers.flat_map(one_epoch).prefetch(4 * share.replicas)


def evaluation_batches(
    files: Sequence[str],
    *,
    batch_size: int,
    share: InputShare = ALL,
    rows: Sequence[int] | None = None,
    raw_text: bool = False,
    triplets: bool = False,
) -> tf.data.Dataset:
    """Every example once, bucketed by length, never shuffled; elements as in training.

    With fewer files than workers each worker reads all of them, and takes its own rows.
    """
    first, kind = tf.constant(0, tf.int64), (raw_text, triplets)
    if len(files) >= share.workers:
        batches = _epoch(_plan(files, rows, batch_size, share), share, kind, None, first)
        return batches.prefetch(4 * share.replicas)
    everyone = InputShare(replicas=share.workers * share.replicas)
    batches = _epoch(_plan(files, rows, batch_size, everyone), everyone, kind, None, first)

    def mine(index: tf.Tensor, _: dict) -> tf.Tensor:
        return index % everyone.replicas // share.replicas == share.worker

    batches = batches.enumerate().filter(mine).map(lambda _, batch: batch)
    return batches.prefetch(4 * share.replicas)


def _plan(
    files: Sequence[str], rows: Sequence[int] | None, batch_size: int, share: InputShare
) -> BatchPlan:
    rows = count_examples(files) if rows is None else rows
    return plan_batches(files, rows, batch_size=batch_size, workers=share.workers)


def _epoch(
    plan: BatchPlan,
    share: InputShare,
    kind: tuple[bool, bool],
    key: tf.Tensor | None,
    skip: tf.Tensor,
    length_noise: float = 0.0,
) -> tf.data.Dataset:
    """An epoch's elements after the first `skip` steps; whole windows are skipped unparsed."""
    mine = plan.share(share.worker, share.workers)
    edges = window_edges(plan, key)
    skip_windows = tf.searchsorted(edges, [skip], side="right", out_type=tf.int64)[0] - 1
    windows = tf.data.Dataset.zip(
        tf.data.Dataset.from_tensor_slices(tf.stack([edges[:-1], edges[1:]], axis=1)),
        read_windows(plan, mine, edges, key),
    ).skip(skip_windows)

    def cut(edge: tf.Tensor, records: tuple[tf.Tensor, ...]) -> tuple[dict, tf.Tensor]:
        raw_text, triplets = kind
        return cut_window(
            plan,
            mine,
            edge,
            records,
            key=key,
            raw_text=raw_text,
            triplets=triplets,
            length_noise=length_noise,
        )

    def emit(window: dict, ends: tf.Tensor) -> tf.data.Dataset:
        elements = tf.data.Dataset.from_tensor_slices(_shares(ends, share.replicas))
        return elements.map(lambda part: pad_rows(window, part[0], part[1]))

    skip_elements = (skip - edges[skip_windows]) * share.replicas
    return windows.map(cut).prefetch(1).flat_map(emit).skip(skip_elements)


def _shares(ends: tf.Tensor, replicas: int) -> tf.Tensor:
    """Ends of steps → begin and end of each replica's rows: int64 [steps · replicas, 2]."""
    sizes = (ends[1:] - ends[:-1])[:, None]
    cuts = ends[:-1, None] + sizes * tf.range(replicas + 1, dtype=tf.int64) // replicas
    return tf.reshape(tf.stack([cuts[:, :-1], cuts[:, 1:]], axis=2), [-1, 2])
