"""A window of examples, read in bulk, sorted by length and cut into batches, all in the graph.

Everything random here is a function of a key, so every input worker makes the same choices.
"""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from model.dataset.batch_plan import BatchPlan, EpochOrder, Records
from model.keyed_random import draw, mix

PAD_MULTIPLE = 4  # few distinct widths, at most three columns of padding more
COMPRESSION = "GZIP"


def window_edges(plan: BatchPlan, key: tf.Tensor | None) -> tf.Tensor:
    """First step of each window, and the end: int64 [windows + 1].

    With a key the first window is cut short at random, which moves all the others.
    """
    whole = first = tf.constant(plan.window_steps, tf.int64)
    if key is not None:
        first = 1 + tf.cast(mix(key), tf.int64) % whole
    starts = tf.range(tf.minimum(first, plan.steps), plan.steps, whole, dtype=tf.int64)
    return tf.concat([[0], starts, [plan.steps]], axis=0)


def rows_taken(plan: BatchPlan, steps: tf.Tensor) -> tf.Tensor:
    """Examples that each stream has given after so many steps: int64 [steps, streams].

    The running totals over streams are rounded down, and not each stream's own share, so that
    every batch sums to exactly the batch size.
    """
    given = tf.minimum(steps * plan.batch_size, plan.rows)
    totals = given[:, None] * tf.constant((0, *plan.ends), tf.int64) // plan.rows
    return totals[:, 1:] - totals[:, :-1]


def read_windows(reading: Reading, edges: tf.Tensor) -> tf.data.Dataset:
    """The serialised examples of each window: a vector of strings for each stream that is read."""
    plan, mine = reading.plan, reading.mine
    taken = rows_taken(plan, edges)
    sizes = taken[1:] - taken[:-1]
    blocks = _read_blocks(reading, tf.maximum(tf.reduce_max(sizes, axis=0), 1))

    # Blocks are as long as the longest window: what a window leaves over waits for the next.
    def carry(kept: tuple, element: tuple) -> tuple[tuple, tuple]:
        blocks, size = element
        records = [tf.concat(parts, axis=0) for parts in zip(kept, blocks, strict=True)]
        parts = [
            tf.split(each, [cut, -1]) for each, cut in zip(records, tf.unstack(size), strict=True)
        ]
        return tuple(rest for _, rest in parts), tuple(window for window, _ in parts)

    nothing = tuple(tf.zeros([0], tf.string) for _ in mine)
    of_mine = tf.data.Dataset.from_tensor_slices(sizes[:, mine.start : mine.stop])
    return tf.data.Dataset.zip(blocks, of_mine).scan(nothing, carry)


def _read_blocks(reading: Reading, sizes: tf.Tensor) -> tuple[tf.data.Dataset, ...]:
    """Each stream's examples in blocks of its size, and empty ones for ever after."""
    plan, key = reading.plan, reading.key
    nothing = tf.data.Dataset.from_tensors(tf.zeros([0], tf.string)).repeat()
    blocks = []
    for stream in reading.mine:
        files = tf.constant(plan.streams[stream], tf.string, [len(plan.streams[stream])])
        if key is not None and len(plan.streams[stream]) > 1:
            files = tf.gather(files, shuffled(tf.size(files), draw(key, stream)))
        records = tf.data.TFRecordDataset(files, COMPRESSION)
        blocks.append(records.batch(sizes[stream]).concatenate(nothing))
    return tuple(blocks)


def parse(records: Records, serialised: tf.Tensor) -> tuple[dict, tf.Tensor]:
    """Serialised examples [n] → all sides and the label; and the longest side's length [n]."""
    names = records.sides
    text = tf.io.FixedLenFeature([], tf.string)
    ids = tf.io.RaggedFeature(tf.int64, row_splits_dtype=tf.int64)
    spec = dict.fromkeys(names, text if records.raw_text else ids)
    numbers = dict.fromkeys(("label", *records.numbers), tf.io.FixedLenFeature([], tf.float32))
    keys = dict.fromkeys(records.keys, tf.io.FixedLenFeature([], tf.int64))
    rows = tf.io.parse_example(serialised, spec | numbers | keys)
    measure = tf.strings.length if records.raw_text else tf.RaggedTensor.row_lengths
    lengths = [tf.cast(measure(rows[name]), tf.int32) for name in names]
    return rows, tf.reduce_max(tf.stack(lengths), axis=0)


@dataclass(frozen=True)
class Reading:
    """What an input worker reads in an epoch, and in which order.

    Attributes:
        records: what the examples hold.
        plan: the steps of the epoch.
        mine: the streams that this worker reads.
        key: of all that is random in the epoch, uint32 []; None keeps the order.
        order: how rows are sorted, by length where not given.
    """

    records: Records
    plan: BatchPlan
    mine: range
    key: tf.Tensor | None = None
    order: EpochOrder | None = None


def cut_window(
    reading: Reading, edge: tf.Tensor, serialised: tuple[tf.Tensor, ...]
) -> tuple[dict, tf.Tensor]:
    """Put a window's rows in the order of their steps.

    `serialised` are the examples of each stream that is read, and `edge` the window's first and
    end step. Gives the rows, each with its number in its global batch (`row`), and where each
    step's rows begin and end: int64 [steps + 1]. `batch_plan` has a worked example.
    """
    plan, mine, key = reading.plan, reading.mine, reading.key
    read = tf.concat([tf.zeros([0], tf.string), *serialised], axis=0)
    rows, length = parse(reading.records, read)
    key = None if key is None else draw(key, edge[0])
    sizes = tf.stack([tf.size(block, tf.int64) for block in serialised])
    stream = tf.repeat(tf.range(len(serialised), dtype=tf.int64), sizes)
    rank = tf.range(tf.size(length, tf.int64)) - tf.gather(tf.cumsum(sizes, exclusive=True), stream)
    noise = None if key is None else draw(key, stream + mine.start, rank)
    how = reading.order
    if noise is not None and how is not None and how.length_noise:
        length = _blurred(length, noise, how.length_noise)
    if key is None or how is None or how.by_length:
        order = _by_length(stream, rank, length, noise)
    else:
        size = max(1, plan.batch_size // len(plan.streams))
        order = _by_block(stream + mine.start, rank, size, key)

    # Which step each row falls to follows from its rank among its stream's rows, now sorted by
    # length; its number in the batch counts the rows of the streams before it.
    taken = rows_taken(plan, tf.range(edge[0], edge[1] + 1))
    begun, done = taken[:-1] - taken[0], taken[1:] - taken[0]
    before = tf.cumsum(done - begun, axis=1, exclusive=True)  # rows of the streams before, [k, s]
    step = _step_of(stream, rank, done[:, mine.start : mine.stop])
    number = rank + tf.gather_nd(before - begun, tf.stack([step, stream + mine.start], axis=1))
    steps = edge[1] - edge[0]
    step = step if key is None else tf.gather(shuffled(steps, key), step)

    by_step = tf.argsort(step, stable=True)
    order = tf.gather(order, by_step)
    window = {name: tf.gather(value, order) for name, value in rows.items()}
    window["row"] = tf.cast(tf.gather(number, by_step), tf.int32)
    ends = tf.searchsorted(tf.gather(step, by_step), tf.range(steps + 1), out_type=tf.int64)
    return window, ends


def _blurred(length: tf.Tensor, noise: tf.Tensor, spread: float) -> tf.Tensor:
    """Lengths int32 [n], each times a random factor of 1 ± spread / 2, in eighths: int32 [n]."""
    factor = 1 + spread * (tf.cast(mix(noise), tf.float64) / 2**32 - 0.5)
    return tf.cast(tf.cast(length, tf.float64) * factor * 8, tf.int32)


def _by_length(
    stream: tf.Tensor, rank: tf.Tensor, length: tf.Tensor, noise: tf.Tensor | None
) -> tf.Tensor:
    """Row numbers [n], each stream's from short to long, and by noise where lengths are equal."""
    last = rank if noise is None else tf.cast(noise, tf.int64)
    length = tf.minimum(tf.cast(length, tf.int64), 2**16 - 1)
    return tf.argsort((stream * 2**16 + length) * 2**32 + last)


def _by_block(stream: tf.Tensor, rank: tf.Tensor, size: int, key: tf.Tensor) -> tf.Tensor:
    """Row numbers [n], each stream's in blocks of neighbours, which come in a random order.

    Where blocks begin is random too. So a step meets other blocks of the streams in each epoch.
    `stream` counts over all workers, int64 [n], and `rank` within it.
    """
    block = (rank + tf.cast(draw(key, stream), tf.int64) % size) // size
    return tf.argsort(stream * 2**32 + tf.cast(draw(key, stream, block), tf.int64), stable=True)


def _step_of(stream: tf.Tensor, rank: tf.Tensor, done: tf.Tensor) -> tf.Tensor:
    """The step that each row falls to, by its place in its stream: int64 [n].

    `done` are the rows that each stream has given after each step, [k, s].
    """
    far = tf.reduce_max(done) + 1  # sets the streams apart, so that one search does for all
    ends = tf.reshape(
        tf.transpose(done) + far * tf.range(done.shape[1], dtype=tf.int64)[:, None], [-1]
    )
    found = tf.searchsorted(ends, rank + far * stream, side="right", out_type=tf.int64)
    return found - stream * tf.shape(done, tf.int64)[0]


def shuffled(count: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """0 … count-1 in a random order: int64 [count]."""
    return tf.cast(tf.argsort(tf.cast(draw(key, tf.range(count)), tf.int64)), tf.int64)


def pad_rows(window: dict, start: tf.Tensor, end: tf.Tensor) -> dict[str, tf.Tensor]:
    """Rows [start, end) as rectangles; where there is none, one made-up row of weight 0."""
    missing = tf.cast(end == start, tf.int64)
    if "text1" in window:
        made_up = tf.fill([missing], "-")
    else:
        made_up = tf.RaggedTensor.from_tensor(tf.ones([missing, 1], tf.int64))

    def cut(name: str, more: tf.Tensor) -> tf.Tensor:
        return tf.concat([window[name][start:end], more], axis=0)

    sides = {name: cut(name, made_up) for name in window if name[-1].isdigit()}
    nothing = tf.zeros([missing])
    weight = window["weight"][start:end] if "weight" in window else tf.ones([end - start])
    beside = {name: cut(name, nothing) for name in ("teacher",) if name in window}
    no_key = tf.zeros([missing], tf.int64)
    beside |= {name: cut(name, no_key) for name in window if name.endswith("_key")}
    return {
        **(sides if "text1" in window else _rectangles(sides)),
        **beside,
        "label": cut("label", nothing),
        "row": cut("row", tf.zeros([missing], tf.int32)),
        "weight": tf.concat([weight, nothing], axis=0),
    }


def _rectangles(sides: dict[str, tf.RaggedTensor]) -> dict[str, tf.Tensor]:
    """Ragged ids → int32 [b, t], 0 on the right, all sides of one width."""
    dense = {name: side.to_tensor() for name, side in sides.items()}
    longest = tf.reduce_max(tf.stack([tf.shape(side)[1] for side in dense.values()]))
    width = -(-longest // PAD_MULTIPLE) * PAD_MULTIPLE
    return {
        name: tf.cast(tf.pad(side, [[0, 0], [0, width - tf.shape(side)[1]]]), tf.int32)
        for name, side in dense.items()
    }
