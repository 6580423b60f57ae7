"""Training a stack of bidirectional LSTMs on a CPU without work on padding.

The same function as the Keras layers, up to rounding, and several times as fast:

- Tokens are packed: rows are sorted by length, and step t handles only the rows that are longer
  than t (as cuDNN's packed sequences do). Padding costs nothing.
- input · kernel is one product over all tokens before the loop, and in the first layer one over
  the distinct tokens of the batch.
- The gradient is written out: the loop back computes the gates' gradients only, and the kernels'
  gradients are one product each after it, where autodiff adds up a product for every step.

On a GPU the Keras layers run as cuDNN kernels, and this module is not used.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from model.keyed_random import mix
from model.network.dropout import StepDropout, current_rows, token_keys


class Packing(NamedTuple):
    """Where the tokens of a batch are in a list of N, step by step; all int32.

    Step t's tokens are those of rows 0 … active[t]-1, longest row first, from starts[t] on.
    """

    order: tf.Tensor  # [b], the batch's rows from long to short
    active: tf.Tensor  # [t]
    starts: tf.Tensor  # [t + 1]
    rows: tf.Tensor  # [N], place in `order`
    times: tf.Tensor  # [N]
    mirror: tf.Tensor  # [N], where the token stands when its sentence is read backwards


def pack(ids: tf.Tensor) -> Packing:
    """The packing of ids, int32 [b, t], 0 as padding on the right and at least one id in a row."""
    lengths = tf.reduce_sum(tf.cast(ids > 0, tf.int32), axis=1)
    order = tf.argsort(lengths, direction="DESCENDING", stable=True)
    lengths = tf.gather(lengths, order)
    steps = tf.range(lengths[0])
    active = tf.reduce_sum(tf.cast(lengths[None, :] > steps[:, None], tf.int32), axis=1)
    starts = tf.concat([[0], tf.cumsum(active)], axis=0)
    times = tf.repeat(steps, active)
    rows = tf.range(starts[-1]) - tf.gather(starts, times)
    mirror = tf.gather(starts, tf.gather(lengths, rows) - 1 - times) + rows
    return Packing(order, active, starts, rows, times, mirror)


def encode_packed(encoder: keras.Model, ids: tf.Tensor, *, training: bool) -> tf.Tensor:
    """What a `bilstm` encoder gives: ids, int32 [b, t] → vectors, float32 [b, d].

    In training it must be called within `dropout.dropping`.
    """
    packing = pack(ids)
    tokens = tokens_of(ids, packing)
    inputs: tf.Tensor | None = None  # of the next layer: [N, d], or [b, d] after the last one
    last_only = False
    for layer in encoder.layers:
        if isinstance(layer, keras.layers.Embedding):
            embedding = layer.embeddings.value
        elif isinstance(layer, StepDropout) and training:
            inputs = tf.gather(embedding, tokens) if inputs is None else inputs
            inputs = layer.drop(inputs, _dropout_keys(packing, last_only=last_only))
        elif isinstance(layer, keras.layers.Bidirectional):
            last_only = not layer.return_sequences
            states, last = bilstm(layer, inputs, packing, embedding, tokens)
            inputs = last if last_only else states
        elif layer.name == "pool":
            return layer(_unpack(inputs, packing, ids), tf.not_equal(ids, 0))
    return reorder(inputs, tf.argsort(packing.order, stable=True), packing.order)


def tokens_of(ids: tf.Tensor, packing: Packing) -> tf.Tensor:
    """Ids [b, t] → those of tokens in the packing's order [N]."""
    rows = tf.gather(packing.order, packing.rows)
    return tf.gather_nd(ids, tf.stack([rows, packing.times], axis=1))


def _dropout_keys(packing: Packing, *, last_only: bool) -> tf.Tensor:
    """As `StepDropout` makes them of [b, d] (`last_only`) or [b, t, d]."""
    rows = tf.gather(current_rows(), packing.order)
    return mix(rows) if last_only else token_keys(tf.gather(rows, packing.rows), packing.times)


def _unpack(states: tf.Tensor, packing: Packing, ids: tf.Tensor) -> tf.Tensor:
    """States [N, d] → [b, t, d], zeros where padding is."""
    places = tf.stack([tf.gather(packing.order, packing.rows), packing.times], axis=1)
    shape = tf.concat([tf.shape(ids), tf.shape(states)[1:]], axis=0)
    return tf.ensure_shape(tf.scatter_nd(places, states, shape), [None, None, states.shape[1]])


def bilstm(
    layer: keras.layers.Bidirectional,
    inputs: tf.Tensor | None,
    packing: Packing,
    embedding: tf.Tensor | None = None,
    tokens: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """The layer's states [N, 2 u] and last states [b, 2 u], of inputs [N, d] or the tokens."""
    cells = [layer.forward_layer.cell, layer.backward_layer.cell]
    scale = _gate_scale(cells[0].units)
    kernel = tf.concat([cell.kernel.value * scale for cell in cells], axis=1)
    bias = tf.concat([cell.bias.value * scale for cell in cells], axis=0)
    if inputs is None:
        distinct, place = tf.unique(tokens)
        gates = spread(tf.matmul(tf.gather(embedding, distinct), kernel) + bias, place)
    else:
        gates = tf.matmul(inputs, kernel) + bias
    ahead, back = tf.split(gates, 2, axis=1)
    back = reorder(back, packing.mirror, packing.mirror)
    recurrent = [cell.recurrent_kernel.value * scale for cell in cells]
    states_ahead, last_ahead = lstm(ahead, recurrent[0], packing)
    states_back, last_back = lstm(back, recurrent[1], packing)
    states_back = reorder(states_back, packing.mirror, packing.mirror)
    states = tf.concat([states_ahead, states_back], axis=1)
    return states, tf.concat([last_ahead, last_back], axis=1)


def _gate_scale(units: int) -> tf.Tensor:
    """2 for the cell gate, 1 for the others: tanh(x) = 2 sigmoid(2 x) - 1, one kernel for all."""
    return tf.repeat(tf.constant([1.0, 1.0, 2.0, 1.0]), units)


def lstm(gates: tf.Tensor, recurrent: tf.Tensor, packing: Packing) -> tuple[tf.Tensor, tf.Tensor]:
    """The recurrence over gates [N, 4 u] with the state's kernel [u, 4 u].

    Gates are in the order input, forget, cell (doubled, as is its part of the kernel), output.
    Gives states [N, u] and last states [b, u], rows as in `packing.order`.
    """

    @tf.custom_gradient
    def run(gates: tf.Tensor, recurrent: tf.Tensor) -> Any:
        states, last, kept = _ahead(gates, recurrent, packing)

        def gradient(d_states, d_last):
            d_gates = _back(
                tf.convert_to_tensor(d_states),
                tf.convert_to_tensor(d_last),
                recurrent,
                kept,
                packing,
            )
            before = tf.gather(packing.starts, tf.maximum(packing.times - 1, 0)) + packing.rows
            begun = tf.cast(packing.times > 0, tf.float32)[:, None]
            previous = tf.gather(states, before) * begun
            return d_gates, tf.matmul(previous, d_gates, transpose_a=True)

        return (states, last), gradient

    return run(gates, recurrent)


def _array(packing: Packing) -> tf.TensorArray:
    steps = tf.shape(packing.active)[0]
    return tf.TensorArray(
        tf.float32, steps, infer_shape=False, element_shape=[None, None], clear_after_read=False
    )


def _shapes(units: int, arrays: Any) -> tuple:
    """Shapes that both loops keep: the step, two states [b, u], and arrays of any shape."""
    state = tf.TensorShape([None, units])
    return tf.TensorShape([]), state, state, tf.nest.map_structure(lambda _: None, arrays)


def _ahead(gates: tf.Tensor, recurrent: tf.Tensor, packing: Packing) -> Any:
    """Forward in time; also what the way back needs of each step."""
    units, rows = recurrent.shape[0], tf.size(packing.order)

    def step(t, state, memory, kept):
        begin, n = packing.starts[t], packing.active[t]
        opened = tf.sigmoid(gates[begin : begin + n] + tf.matmul(state[:n], recurrent))
        i, f, c, o = tf.split(opened, 4, axis=1)
        before = memory[:n]
        after = f * before + i * (2 * c - 1)
        squashed = tf.tanh(after)
        new = o * squashed
        values = (new, opened, before, squashed)
        kept = tuple(array.write(t, value) for array, value in zip(kept, values, strict=True))
        state = tf.concat([new, state[n:]], axis=0)
        return t + 1, state, tf.concat([after, memory[n:]], axis=0), kept

    zeros = tf.zeros([rows, units])
    arrays = tuple(_array(packing) for _ in range(4))
    steps = tf.size(packing.active)
    _, last, _, (states, *kept) = tf.while_loop(
        lambda t, *_: t < steps,
        step,
        (0, zeros, zeros, arrays),
        shape_invariants=_shapes(units, arrays),
    )
    return tf.ensure_shape(states.concat(), [None, units]), last, kept


def _back(
    d_states: tf.Tensor, d_last: tf.Tensor, recurrent: tf.Tensor, kept: list, packing: Packing
) -> tf.Tensor:
    """Back in time: gradients of states [N, u] and of last states [b, u] → of gates [N, 4 u]."""
    opened_at, memory_at, squashed_at = kept

    def step(t, d_state, d_memory, d_gates):
        begin, n = packing.starts[t], packing.active[t]
        opened, before, squashed = opened_at.read(t), memory_at.read(t), squashed_at.read(t)
        i, f, c, o = tf.split(opened, 4, axis=1)
        d_new = d_state[:n] + d_states[begin : begin + n]
        d_after = d_memory[:n] + d_new * o * (1 - squashed * squashed)
        sides = [d_after * (2 * c - 1), d_after * before, d_after * (2 * i), d_new * squashed]
        d = tf.concat(sides, axis=1) * (opened * (1 - opened))
        d_state = tf.concat([tf.matmul(d, recurrent, transpose_b=True), d_state[n:]], axis=0)
        return t - 1, d_state, tf.concat([d_after * f, d_memory[n:]], 0), d_gates.write(t, d)

    steps = tf.size(packing.active)
    array = _array(packing)
    *_, d_gates = tf.while_loop(
        lambda t, *_: t >= 0,
        step,
        (steps - 1, d_last, tf.zeros_like(d_last), array),
        shape_invariants=_shapes(recurrent.shape[0], array),
    )
    return d_gates.concat()


def reorder(values: tf.Tensor, order: tf.Tensor, inverse: tf.Tensor) -> tf.Tensor:
    """values[order], whose gradient is a gather by the inverse and not a scatter."""

    @tf.custom_gradient
    def run(values):
        return tf.gather(values, order), lambda d: tf.gather(tf.convert_to_tensor(d), inverse)

    return run(values)


def spread(values: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
    """values[place], where places repeat much: the gradient is summed in one parallel pass."""

    @tf.custom_gradient
    def run(values):
        def gradient(d):
            order = tf.argsort(place, stable=True)
            return tf.sparse.segment_sum(
                d, order, tf.gather(place, order), num_segments=tf.shape(values)[0]
            )

        return tf.gather(values, place), gradient

    return run(values)
