"""Layers of the Universal Sentence Encoder: its table of bytes, a lean norm, n-grams, their sum.

The last three do what Keras's own do, in fewer passes over memory: on a CPU, training with Keras's
LayerNormalization and Conv1D spent more time in them than in the products.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from model.network.pooling import PACKAGE


@keras.saving.register_keras_serializable(package=PACKAGE)
class QuantizedEmbedding(keras.layers.Layer):
    """Vectors of ids from 1 on: byte · scale + least, each row by the values of its chunk.

    What training adds to a row is in a separate matrix, with a row for each that may be trained:
    gradients and the optimiser's state are as large as that, however large the table is.
    All other rows stay as they are, to the bit. Weight decay pulls trained rows back to where they
    began (Li et al. 2018, "Explicit inductive bias for transfer learning").
    """

    def __init__(
        self,
        rows: int,
        dimensions: int,
        chunks: int,
        trained_rows: Sequence[int] | np.ndarray | None = None,
        **kwargs: Any,
    ):
        """Takes the table's shape; row r belongs to chunk r mod `chunks`.

        `trained_rows` are the rows, from 0, that may be trained.
        """
        super().__init__(**kwargs)
        self.rows, self.dimensions, self.chunks = rows, dimensions, chunks
        self.trained_rows = [] if trained_rows is None else [int(row) for row in trained_rows]

    def build(self, shape):
        """Makes the table, still zeros, and the matrix of changes; see `fill`."""
        self.table = self._constant("table", (self.rows, self.dimensions), "uint8")
        self.scale = self._constant("scale", (self.chunks,), "float32")
        self.least = self._constant("least", (self.chunks,), "float32")
        self.changes = None
        if self.trained_rows:
            # Row of the table → 1 + its row in `changes`; 0 for rows that are not trained.
            self.places = self._constant("places", (self.rows,), "int32")
            places = np.zeros(self.rows, np.int32)
            places[self.trained_rows] = 1 + np.arange(len(self.trained_rows))
            self.places.assign(places)
            size = (len(self.trained_rows), self.dimensions)
            self.changes = self.add_weight(shape=size, initializer="zeros", name="changes")

    def _constant(self, name: str, shape: tuple[int, ...], dtype: str) -> Any:
        # Not cast: in mixed precision Keras would round scale and least to bfloat16.
        return self.add_weight(
            shape=shape,
            dtype=dtype,
            initializer="zeros",
            trainable=False,
            autocast=False,
            name=name,
        )

    def fill(self, table: np.ndarray, scale: np.ndarray, least: np.ndarray) -> None:
        """Sets the bytes [rows, d], and each chunk's scale and least value [chunks]."""
        for weight, values in ((self.table, table), (self.scale, scale), (self.least, least)):
            weight.assign(values)

    def begin_with(self, other: QuantizedEmbedding) -> None:
        """Takes another's table, and its changes of rows that may be trained here too."""
        self.fill(other.table.numpy(), other.scale.numpy(), other.least.numpy())
        if self.changes is None:
            return
        changes = np.zeros(self.changes.shape, np.float32)
        place = {row: number for number, row in enumerate(self.trained_rows)}
        known = [(n, place[row]) for n, row in enumerate(other.trained_rows) if row in place]
        if known:
            old, new = np.array(known).T
            changes[new] = other.changes.numpy()[old]
        self.changes.assign(changes)

    def call(self, ids):
        """Ids, int32 [b, t] → [b, t, d]; id i is row i − 1, and padding, 0, is whatever comes."""
        rows = ops.maximum(ids - 1, 0)
        chunks = rows % self.chunks
        exact = ops.cast(ops.take(self.table, rows, axis=0), "float32")
        vectors = exact * ops.expand_dims(ops.take(self.scale, chunks), -1)
        vectors = vectors + ops.expand_dims(ops.take(self.least, chunks), -1)
        if self.changes is not None:
            # Rows without a change read that of another row, times 0: so it gets no gradient from
            # them.
            places = ops.take(self.places, rows)
            changed = ops.cast(ops.expand_dims(places > 0, -1), "float32")
            changes = ops.take(self.changes, ops.maximum(places - 1, 0), axis=0)
            vectors = vectors + ops.cast(changes, "float32") * changed
        return ops.cast(vectors, self.compute_dtype)

    def compute_output_spec(self, ids):
        """Stated outright: a vector for each id."""
        return keras.KerasTensor((*ids.shape, self.dimensions), self.compute_dtype)

    def get_config(self):
        own = {"rows": self.rows, "dimensions": self.dimensions, "chunks": self.chunks}
        return {**super().get_config(), **own, "trained_rows": self.trained_rows}


@keras.saving.register_keras_serializable(package=PACKAGE)
class CenteredNorm(keras.layers.Layer):
    """Layer normalisation over the last axis (Ba et al. 2016)."""

    def __init__(self, epsilon: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def build(self, shape):
        """Makes gamma and beta for inputs […, d]."""
        size = (shape[-1],)
        self.gamma = self.add_weight(shape=size, initializer="ones", name="gamma")
        self.beta = self.add_weight(shape=size, initializer="zeros", name="beta")

    def call(self, inputs):
        """[…, d] → the same, of mean beta and deviation gamma; computed in float32."""
        centered, scale = _centered(ops.cast(inputs, "float32"), self.epsilon)
        return ops.cast(centered * scale, self.compute_dtype) * self.gamma + self.beta

    def get_config(self):
        return {**super().get_config(), "epsilon": self.epsilon}


@keras.saving.register_keras_serializable(package=PACKAGE)
class NgramConvolution(keras.layers.Layer):
    """A convolution over `order` tokens that keeps the width, then ReLU.

    A token sees (order − 1) // 2 tokens to its left; an even order sees one more to its right.
    """

    def __init__(self, order: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.order = order

    def build(self, shape):
        """Makes a kernel for each place of the n-gram, and the bias, for tokens [b, t, d]."""
        size = shape[-1]
        self.kernel = self.add_weight(shape=(self.order, size, size), name="kernel")
        self.bias = self.add_weight(shape=(size,), initializer="zeros", name="bias")

    def call(self, tokens):
        """[b, t, d] with zeros as padding → the same; a product for each place of the n-gram."""
        left = (self.order - 1) // 2
        padded = ops.pad(tokens, [[0, 0], [left, self.order - 1 - left], [0, 0]])
        rows, steps, size = ops.shape(tokens)[0], ops.shape(tokens)[1], tokens.shape[-1]
        total = self.bias
        for place in range(self.order):
            shifted = ops.reshape(padded[:, place : place + steps], (-1, size))
            total = total + ops.matmul(shifted, self.kernel[place])
        return ops.relu(ops.reshape(total, (rows, steps, size)))

    def compute_output_spec(self, tokens):
        """Stated outright: the shape is that of the tokens, which the reshapes hide."""
        return keras.KerasTensor(tokens.shape, self.compute_dtype)

    def get_config(self):
        return {**super().get_config(), "order": self.order}


@keras.saving.register_keras_serializable(package=PACKAGE)
class NormalizedSum(keras.layers.Layer):
    """Layer normalisation of each token, their sum over √n, and a projection of that.

    All three are linear except for each token's own mean and scale, so the normalised tokens are
    never made: the sum of centred tokens is weighted by their scales, one product a sentence.
    """

    def __init__(self, units: int, epsilon: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.units, self.epsilon = units, epsilon

    def build(self, tokens_shape, keep_shape=None):
        """Makes the norm's gamma and beta and the projection's kernel and bias."""
        size = tokens_shape[-1]
        self.gamma = self.add_weight(shape=(size,), initializer="ones", name="gamma")
        self.beta = self.add_weight(shape=(size,), initializer="zeros", name="beta")
        self.kernel = self.add_weight(shape=(size, self.units), name="kernel")
        self.bias = self.add_weight(shape=(self.units,), initializer="zeros", name="bias")

    def call(self, tokens, keep):
        """Tokens [b, t, d] and 1 for each that is real [b, t, 1] → [b, units]."""
        centered, scale = _centered(tokens, self.epsilon)
        weighted = ops.matmul(ops.transpose(scale * keep, (0, 2, 1)), centered)[:, 0]
        return self._projected(weighted, ops.sum(keep, axis=1))

    def of_packed(self, tokens, keep, owner):
        """Tokens [N, d] of sentences end to end, and whose each is [N], ascending → [n, units]."""
        centered, scale = _centered(tokens, self.epsilon)
        weighted = tf.math.segment_sum(centered * (scale * keep), owner)
        count = tf.math.segment_sum(keep, owner)
        return self._projected(tf.ensure_shape(weighted, [None, tokens.shape[-1]]), count)

    def _projected(self, weighted, count):
        """The tokens' weighted sums [b, d] and their number [b, 1] → [b, units]."""
        # Σ [(γ s (x − mean) + β) W + b] / √n over the n real tokens x, with s = 1 / deviation.
        # Only s (x − mean) differs from token to token; its sum is `weighted`.
        summed = weighted * self.gamma + count * self.beta
        return (ops.matmul(summed, self.kernel) + count * self.bias) * ops.rsqrt(count)

    def compute_output_spec(self, tokens, keep):
        """Stated outright: a vector for each sentence."""
        return keras.KerasTensor((tokens.shape[0], self.units), self.compute_dtype)

    def get_config(self):
        return {**super().get_config(), "units": self.units, "epsilon": self.epsilon}


def _centered(inputs: Any, epsilon: float) -> tuple[Any, Any]:
    """[…, d] → the same less its mean, and 1 over its deviation […, 1]."""
    centered = inputs - ops.mean(inputs, axis=-1, keepdims=True)
    variance = ops.mean(ops.square(centered), axis=-1, keepdims=True)
    return centered, ops.rsqrt(variance + epsilon)
