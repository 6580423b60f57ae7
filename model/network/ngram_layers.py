"""Layers of the Universal Sentence Encoder: a lean norm, n-grams, and the sum over tokens.

They do what Keras's own do, in fewer passes over memory: on a CPU, training with Keras's
LayerNormalization and Conv1D spent more time in them than in the products.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from model.network.pooling import PACKAGE


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

    All three are linear but for each token's own mean and scale, so the normalised tokens are
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
