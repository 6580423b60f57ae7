"""Bidirectional LSTMs for scoring: the input's part of the gates is computed before the loop.

Most of a recurrent layer's work does not depend on the step before: input·kernel + bias. For the
first layer it depends on the token alone, so it is a row of a table made once for the whole
vocabulary ("folded"); for the others it is one matrix product over all steps. What is left in the
loop is the state's own product. The result is that of the Keras layers up to rounding.

Sentences are padded on the right, which saves most of the masking: forward, padding comes after
all that counts; backward, it comes first, and there the state is held at zero.
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

MAX_TABLE_BYTES = 256 << 20


class Direction(tf.Module):
    """One direction of one layer: its gates' table or kernel, and the state's kernel."""

    def __init__(self, layer: keras.layers.LSTM, embeddings: tf.Tensor | None, *, backward: bool):
        """Takes a built Keras LSTM, and the embeddings [vocabulary, d] if they are to be folded."""
        super().__init__()
        self.units = layer.units
        self.backward = backward
        kernel, recurrent, bias = (self._sigmoids_first(w) for w in layer.get_weights())
        self.recurrent = tf.Variable(recurrent, trainable=False)
        self.table = self.kernel = self.bias = None
        if embeddings is not None:
            self.table = tf.Variable(tf.matmul(embeddings, kernel) + bias, trainable=False)
        else:
            self.kernel = tf.Variable(kernel, trainable=False)
            self.bias = tf.Variable(bias, trainable=False)

    def _sigmoids_first(self, weights: np.ndarray) -> tf.Tensor:
        """Keras's gates [input, forget, cell, output] → [input, forget, output, cell]."""
        i, f, c, o = tf.split(tf.convert_to_tensor(weights), 4, axis=-1)
        return tf.concat([i, f, o, c], axis=-1)

    def __call__(self, inputs: tf.Tensor, keep: tf.Tensor) -> tf.Tensor:
        """Runs over the steps.

        Args:
            inputs: ids [t, b] where folded, else vectors [t, b, d].
            keep: 1 for a token and 0 for padding, float32 [t, b, 1].

        Returns:
            The states [t, b, units]; those of padding mean nothing.
        """
        gates = self._gates(inputs)
        steps, rows = tf.shape(gates)[0], tf.shape(gates)[1]
        states = tf.TensorArray(tf.float32, size=steps, element_shape=[None, self.units])

        def step(count, state, memory, states):
            at = steps - 1 - count if self.backward else count
            gate = gates[at] + tf.matmul(state, self.recurrent)
            i, f, o = tf.split(tf.sigmoid(gate[:, : 3 * self.units]), 3, axis=1)
            memory = f * memory + i * tf.tanh(gate[:, 3 * self.units :])
            if self.backward:
                memory *= keep[at]  # so the state, o · tanh(memory), is zero as well
            state = o * tf.tanh(memory)
            return count + 1, state, memory, states.write(at, state)

        zeros = tf.zeros([rows, self.units])
        start = (0, zeros, zeros, states)
        return tf.while_loop(lambda count, *_: count < steps, step, start)[-1].stack()

    def _gates(self, inputs: tf.Tensor) -> tf.Tensor:
        if self.table is not None:
            return tf.gather(self.table, inputs)
        steps, rows = tf.shape(inputs)[0], tf.shape(inputs)[1]
        flat = tf.reshape(inputs, [-1, inputs.shape[-1]])
        gates = tf.matmul(flat, self.kernel) + self.bias
        return tf.reshape(gates, [steps, rows, 4 * self.units])


class FoldedBiLstm(tf.Module):
    """An encoder of stacked bidirectional LSTMs, up to its pooling, from token ids.

    Built from the trained Keras encoder; dropout plays no part in scoring.
    """

    def __init__(self, encoder: keras.Model, *, max_table_bytes: int = MAX_TABLE_BYTES):
        """Takes an encoder whose layers are `embedding` and `bilstm_1`, `bilstm_2` and so on."""
        super().__init__()
        embeddings = tf.convert_to_tensor(encoder.get_layer("embedding").get_weights()[0])
        layers = [layer for layer in encoder.layers if layer.name.startswith("bilstm_")]
        gates = sum(4 * side.units for side in (layers[0].forward_layer, layers[0].backward_layer))
        self.folded = 4 * gates * embeddings.shape[0] <= max_table_bytes
        self.embeddings = None if self.folded else tf.Variable(embeddings, trainable=False)
        self.layers = []
        for layer in layers:
            table = embeddings if self.folded and layer is layers[0] else None
            forward = Direction(layer.forward_layer, table, backward=False)
            self.layers.append((forward, Direction(layer.backward_layer, table, backward=True)))

    def __call__(self, ids: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Ids, int32 [b, t] with 0 as padding on the right → vectors of sentences and tokens.

        Returns:
            The last state of both directions [b, d], and the states at each step [t, b, d];
            those of padding mean nothing.
        """
        steps = tf.transpose(ids)
        keep = tf.cast(tf.not_equal(steps, 0), tf.float32)[:, :, None]
        inputs = steps if self.folded else tf.gather(self.embeddings, steps)
        for forward, backward in self.layers:
            states = forward(inputs, keep), backward(inputs, keep)
            inputs = tf.concat(states, axis=-1)
        ends = tf.math.count_nonzero(steps, axis=0, dtype=tf.int32) - 1
        rows = tf.range(tf.shape(ids)[0])
        last = tf.gather_nd(states[0], tf.stack([ends, rows], axis=1)), states[1][0]
        return tf.concat(last, axis=-1), inputs


def mean_in_order(states: tf.Tensor, keep: tf.Tensor) -> tf.Tensor:
    """The mean over the tokens of a sentence: states [t, b, d], keep [t, b, 1] → [b, d].

    Added up one by one: TensorFlow's own sum pairs its terms by their number, so a sentence's
    last bits would depend on how far it is padded.
    """

    def add(at: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return at + 1, total + states[at] * keep[at]

    steps = tf.shape(states)[0]
    start = (0, tf.zeros_like(states[0]))
    _, total = tf.while_loop(lambda at, _: at < steps, add, start)
    return total / tf.reduce_sum(keep, axis=0)
