"""Batches larger than memory, for losses that look across the batch (Gao et al. 2021, GradCache).

Such a loss cannot be added up from pieces of a batch: each pair meets all others. But its gradient
flows through the vectors alone. So the batch is encoded piece by piece without keeping what a
gradient needs; the loss of all vectors gives a gradient for each of them; and each piece is encoded
once more, to carry its vectors' gradients on to the weights. Encoding twice costs a third more than
once with its gradient, and memory is that of a piece.

Both times dropout must drop the same: it is a function of step and row, see `dropout`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from model.training.optimizers import dense

Batch = dict[str, tf.Tensor]
Encode = Callable[[Batch], dict[str, tf.Tensor]]


def cached_gradients(
    batch: Batch,
    encode: Encode,
    losses: Callable[[dict[str, tf.Tensor]], tf.Tensor],
    variables: Sequence[Any],
    *,
    at_once: int,
    dimensions: int,
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """The losses of a batch and the gradients of their sum, encoding a number of pairs at a time.

    Args:
        batch: of b pairs, each value with b rows.
        encode: pairs → `u` and `v`, [pairs, d] each; the same for the same pairs each time.
        losses: `u` and `v` of the complete batch → [b].
        variables: whose gradients are wanted.
        at_once: how many pairs are encoded together.
        dimensions: length d of a vector.

    Returns:
        Losses [b], and a gradient for each variable.
    """
    starts = tf.range(0, tf.shape(batch["label"])[0], at_once)
    vectors = _encode_all(batch, encode, starts, at_once, dimensions)
    with tf.GradientTape() as tape:
        tape.watch(vectors)
        found = losses(vectors)
        total = tf.reduce_sum(found)
    wanted = tape.gradient(total, vectors)

    def carry(number: tf.Tensor, sums: list[tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
        rows = slice(starts[number], starts[number] + at_once)
        with tf.GradientTape() as inner:
            sides = encode(_piece(batch, rows))
            # Its gradient by a weight is that vector's gradient times the vector's by the weight.
            moved = sum(tf.reduce_sum(sides[name] * wanted[name][rows]) for name in sides)
        more = dense(inner.gradient(moved, variables), variables)
        return number + 1, [old + new for old, new in zip(sums, more, strict=True)]

    zeros = [tf.zeros(variable.shape) for variable in variables]
    _, gradients = tf.while_loop(
        lambda number, _: number < tf.size(starts), carry, (tf.constant(0), zeros)
    )
    return found, gradients


def _encode_all(
    batch: Batch, encode: Encode, starts: tf.Tensor, at_once: int, dimensions: int
) -> dict[str, tf.Tensor]:
    """Vectors of all pairs, piece by piece; no gradient goes through."""
    count = tf.size(starts)
    arrays = {
        side: tf.TensorArray(tf.float32, count, infer_shape=False, element_shape=[None, dimensions])
        for side in "uv"
    }

    def add(number: tf.Tensor, kept: dict) -> tuple[tf.Tensor, dict]:
        start = starts[number]
        found = encode(_piece(batch, slice(start, start + at_once)))
        return number + 1, {side: kept[side].write(number, found[side]) for side in kept}

    _, arrays = tf.while_loop(lambda number, _: number < count, add, (tf.constant(0), arrays))
    vectors = {
        side: tf.ensure_shape(array.concat(), [None, dimensions]) for side, array in arrays.items()
    }
    return {side: tf.stop_gradient(value) for side, value in vectors.items()}


def _piece(batch: Batch, rows: slice) -> Batch:
    return {name: value[rows] for name, value in batch.items()}
