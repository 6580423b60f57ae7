"""A window of examples, read in bulk, sorted by length and cut into batches, all in the graph.

Everything random here is a function of a key, so every input worker makes the same choices.
"""

from __future__ import annotations

import tensorflow as tf

from model.batch_plan import BatchPlan

PAD_MULTIPLE = 4  # few distinct widths, at most three columns of padding more
COMPRESSION = "GZIP"


def window_edges(plan: BatchPlan, key: tf.Tensor | None) -> tf.Tensor:
    """First step of each window, and the end: int64 [windows + 1].

    With a key the first window is cut short at random, which moves all the others.
    """
    whole = tf.constant(plan.window_steps, tf.int64)
    first = whole
    if key is not None:
        first = tf.random.stateless_uniform([], key, 1, whole + 1, dtype=tf.int64)
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


def read_windows(
    plan: BatchPlan, mine: range, edges: tf.Tensor, key: tf.Tensor | None
) -> tf.data.Dataset:
    """The serialised examples of each window: a vector of strings for each stream of `mine`."""
    taken = rows_taken(plan, edges)
    sizes = taken[1:] - taken[:-1]
    blocks = tuple(_read_blocks(plan, s, tf.reduce_max(sizes[:, s]), key) for s in mine)

    # Blocks are as long as the longest window: what a window leaves over waits for the next.
    def carry(kept: tuple, element: tuple) -> tuple[tuple, tuple]:
        blocks, size = element
        records = [tf.concat(parts, axis=0) for parts in zip(kept, blocks, strict=True)]
        cuts = [(each, size[stream]) for stream, each in zip(mine, records, strict=True)]
        return tuple(each[cut:] for each, cut in cuts), tuple(each[:cut] for each, cut in cuts)

    nothing = tuple(tf.zeros([0], tf.string) for _ in mine)
    sized = tf.data.Dataset.zip(blocks, tf.data.Dataset.from_tensor_slices(sizes))
    return sized.scan(nothing, carry)


def _read_blocks(
    plan: BatchPlan, stream: int, size: tf.Tensor, key: tf.Tensor | None
) -> tf.data.Dataset:
    """A stream's examples in blocks of `size`, and empty ones for ever after."""
    files = tf.constant(plan.streams[stream], tf.string, [len(plan.streams[stream])])
    if key is not None:
        files = tf.gather(files, shuffled_range(tf.size(files), fold(key, stream)))
    blocks = tf.data.TFRecordDataset(files, COMPRESSION).batch(tf.maximum(size, 1))
    return blocks.concatenate(tf.data.Dataset.from_tensors(tf.zeros([0], tf.string)).repeat())


def parse(records: tf.Tensor, *, raw_text: bool) -> tuple[dict, tf.Tensor]:
    """Serialised examples [n] → both sides and the label; and the longer side's length [n]."""
    names = ("text1", "text2") if raw_text else ("ids1", "ids2")
    text = tf.io.FixedLenFeature([], tf.string)
    ids = tf.io.RaggedFeature(tf.int64, row_splits_dtype=tf.int64)
    spec = dict.fromkeys(names, text if raw_text else ids)
    rows = tf.io.parse_example(records, spec | {"label": tf.io.FixedLenFeature([], tf.float32)})
    measure = tf.strings.length if raw_text else tf.RaggedTensor.row_lengths
    return rows, tf.maximum(*(tf.cast(measure(rows[name]), tf.int32) for name in names))


def cut_window(
    plan: BatchPlan,
    mine: range,
    edge: tf.Tensor,
    records: tuple[tf.Tensor, ...],
    *,
    key: tf.Tensor | None,
    raw_text: bool,
) -> tuple[dict, tf.Tensor]:
    """Put a window's rows in the order of their steps.

    `records` are the strings of the streams `mine`, and `edge` the window's first and end step.
    Gives the rows and where each step's rows begin and end: int64 [steps + 1].
    """
    rows, length = parse(tf.concat([tf.zeros([0], tf.string), *records], axis=0), raw_text=raw_text)
    if key is not None:
        key = fold(key, edge[0])
    steps = edge[1] - edge[0]
    place = shuffled_range(steps, key)
    taken = rows_taken(plan, tf.range(edge[0], edge[1] + 1))
    taken = taken[1:] - taken[0]
    chosen, fallen, first = [tf.zeros([0], tf.int32)], [tf.zeros([0], tf.int64)], 0
    for stream, block in zip(mine, records, strict=True):
        size = tf.size(block)
        rank = tf.range(tf.cast(size, tf.int64))
        step = tf.searchsorted(taken[:, stream], rank, side="right", out_type=tf.int64)
        fallen.append(tf.gather(place, step))
        stream_key = None if key is None else fold(key, stream)
        chosen.append(first + sorted_by_length(length[first : first + size], stream_key))
        first += size
    step_of_row = tf.concat(fallen, axis=0)
    order = tf.gather(tf.concat(chosen, axis=0), tf.argsort(step_of_row, stable=True))
    steps_done = tf.range(steps + 1)
    ends = tf.searchsorted(tf.sort(step_of_row), steps_done, side="left", out_type=tf.int64)
    return {name: tf.gather(value, order) for name, value in rows.items()}, ends


def sorted_by_length(length: tf.Tensor, key: tf.Tensor | None) -> tf.Tensor:
    """Row numbers [n] from short to long; with a key, rows of one length in a random order."""
    if key is None:
        return tf.argsort(length, stable=True)
    noise = tf.random.stateless_uniform(tf.shape(length), key, dtype=tf.float64)
    return tf.argsort(tf.cast(length, tf.float64) + noise)


def shuffled_range(count: tf.Tensor, key: tf.Tensor | None) -> tf.Tensor:
    """0 … count-1, shuffled by the key if there is one: int64 [count]."""
    if key is None:
        return tf.range(tf.cast(count, tf.int64))
    noise = tf.random.stateless_uniform(tf.reshape(count, [1]), key)
    return tf.cast(tf.argsort(noise), tf.int64)


def fold(key: tf.Tensor, number: tf.Tensor | int) -> tf.Tensor:
    """A new key, int32 [2], that depends on a key and a number."""
    return tf.random.experimental.stateless_fold_in(key, tf.cast(number, tf.int32))


def pad_rows(window: dict, start: tf.Tensor, end: tf.Tensor) -> dict[str, tf.Tensor]:
    """Rows [start, end) as rectangles; where there is none, one made-up row of weight 0."""
    missing = tf.cast(end == start, tf.int64)
    weight = tf.concat([tf.ones([end - start]), tf.zeros([missing])], axis=0)
    label = tf.concat([window["label"][start:end], tf.zeros([missing])], axis=0)
    if "text1" in window:
        made_up = tf.fill([missing], "-")
    else:
        made_up = tf.RaggedTensor.from_tensor(tf.ones([missing, 1], tf.int64))
    sides = {
        name: tf.concat([value[start:end], made_up], axis=0)
        for name, value in window.items()
        if name != "label"
    }
    if "text1" not in window:
        sides = _rectangles(sides)
    return {**sides, "label": label, "weight": weight}


def _rectangles(sides: dict[str, tf.RaggedTensor]) -> dict[str, tf.Tensor]:
    """Ragged ids → int32 [b, t], 0 on the right, both sides of one width."""
    dense = {name: side.to_tensor() for name, side in sides.items()}
    longest = tf.maximum(*(tf.shape(side)[1] for side in dense.values()))
    width = -(-longest // PAD_MULTIPLE) * PAD_MULTIPLE
    return {
        name: tf.cast(tf.pad(side, [[0, 0], [0, width - tf.shape(side)[1]]]), tf.int32)
        for name, side in dense.items()
    }
