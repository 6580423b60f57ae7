"""Bidirectional LSTMs for scoring: the input's share of the gates is made before the loop.

Most of a recurrent layer's work does not depend on the step before: input·kernel + bias. For the
first layer it depends on the token alone, so it is a row of a table made once for the whole
vocabulary ("folded"); for the others it is one matrix product over all steps. What is left in the
loop is the state's own product. The result is that of the Keras layers up to rounding.
"""

from __future__ import annotations

import keras
import tensorflow as tf

MAX_TABLE_BYTES = 256 << 20


class Direction(tf.Module):
    """One direction of one layer: its gates' tables or kernels, and the state's kernel."""

    def __init__(self, cell: keras.layers.LSTM, *, backward: bool):
        """Takes a built Keras LSTM; its gates stand in the order input, forget, cell, output."""
        super().__init__()
        self.units = cell.units
        self.backward = backward
        kernel, recurrent, bias = (tf.convert_to_tensor(w) for w in cell.get_weights())
        self.kernel = tf.Variable(kernel, trainable=False)
        self.recurrent = tf.Variable(recurrent, trainable=False)
        self.bias = tf.Variable(bias, trainable=False)
        self.table: tf.Variable | None = None

    def fold(self, embeddings: tf.Tensor) -> None:
        """Makes the table of gates for every id, [vocabulary, 4 units], in place of the kernel."""
        table = tf.matmul(embeddings, self.kernel) + self.bias
        self.table = tf.Variable(table, trainable=False)
        self.kernel = self.bias = None

    def gates(self, ids_or_steps: tf.Tensor) -> tf.Tensor:
        """Ids [t, b] where folded, else inputs [t, b, d] → gates [t, b, 4 units]."""
        if self.table is not None:
            return tf.gather(self.table, ids_or_steps)
        shape = tf.shape(ids_or_steps)
        flat = tf.reshape(ids_or_steps, [-1, ids_or_steps.shape[-1]])
        gates = tf.matmul(flat, self.kernel) + self.bias
        return tf.reshape(gates, [shape[0], shape[1], 4 * self.units])

    def run(self, inputs: tf.Tensor, keep: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Runs over the steps.

        Args:
            inputs: ids [t, b] where folded, else [t, b, d].
            keep: which steps are real, bool [t, b, 1]; the others leave the state as it is.

        Returns:
            The last state [b, units], and the states after each step [t, b, units] in the
            order of the sentence.
        """
        if self.backward:
            inputs, keep = tf.reverse(inputs, [0]), tf.reverse(keep, [0])
        last, states = self._loop(self.gates(inputs), keep)
        return last, tf.reverse(states, [0]) if self.backward else states

    def _loop(self, gates: tf.Tensor, keep: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        steps, rows = tf.shape(gates)[0], tf.shape(gates)[1]
        gates_of = tf.TensorArray(tf.float32, size=steps).unstack(gates)
        keep_of = tf.TensorArray(tf.bool, size=steps).unstack(keep)
        states = tf.TensorArray(tf.float32, size=steps, element_shape=[None, self.units])

        def step(at, state, memory, states):
            i, f, c, o = tf.split(gates_of.read(at) + tf.matmul(state, self.recurrent), 4, axis=1)
            new_memory = tf.sigmoid(f) * memory + tf.sigmoid(i) * tf.tanh(c)
            new_state = tf.sigmoid(o) * tf.tanh(new_memory)
            real = keep_of.read(at)
            state = tf.where(real, new_state, state)
            return at + 1, state, tf.where(real, new_memory, memory), states.write(at, state)

        zeros = tf.zeros([rows, self.units])
        _, last, _, states = tf.while_loop(
            lambda at, *_: at < steps, step, (0, zeros, zeros, states)
        )
        return last, states.stack()


class FoldedBiLstm(tf.Module):
    """An encoder of stacked bidirectional LSTMs, up to its pooling, from token ids.

    Built from the trained Keras encoder; dropout plays no part in scoring.
    """

    def __init__(self, encoder: keras.Model, *, max_table_bytes: int = MAX_TABLE_BYTES):
        """Takes an encoder whose layers are `embedding` and `bilstm_1`, `bilstm_2` and so on."""
        super().__init__()
        embeddings = tf.convert_to_tensor(encoder.get_layer("embedding").get_weights()[0])
        layers = [layer for layer in encoder.layers if layer.name.startswith("bilstm_")]
        self.directions = [
            (
                Direction(layer.forward_layer, backward=False),
                Direction(layer.backward_layer, backward=True),
            )
            for layer in layers
        ]
        first = self.directions[0]
        size = sum(4 * 4 * direction.units * embeddings.shape[0] for direction in first)
        self.folded = size <= max_table_bytes
        self.embeddings = None if self.folded else tf.Variable(embeddings, trainable=False)
        if self.folded:
            for direction in first:
                direction.fold(embeddings)

    def __call__(self, ids: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Ids, int32 [b, t] → the last states [b, d], and the states at each step [b, t, d]."""
        steps = tf.transpose(ids)
        keep = tf.not_equal(steps, 0)[:, :, None]
        inputs = steps if self.folded else tf.gather(self.embeddings, steps)
        for forward, backward in self.directions:
            (last_f, states_f), (last_b, states_b) = (
                forward.run(inputs, keep),
                backward.run(inputs, keep),
            )
            inputs = tf.concat([states_f, states_b], axis=-1)
        return tf.concat([last_f, last_b], axis=-1), tf.transpose(inputs, [1, 0, 2])
