"""Dropout that depends on the example and the step, and not on who computes it.

Keras draws a mask for the rows of a replica, so two workers drop other things than one. Here a
mask is a hash of the seed, the step, the row's number in the global batch, the token's place and
the component: one worker and many drop the same, and a run that goes on from a checkpoint drops
what it would have dropped, with no random state to be kept.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from model.keyed_random import mix, word
from model.network.pooling import PACKAGE
from transforms.text.token_ids import UNKNOWN_ID

_HIDING = 0x68696465  # sets what is hidden apart from what components are dropped

_current: list[tuple[tf.Tensor, tf.Tensor]] = []


@contextmanager
def dropping(rows: tf.Tensor, step: tf.Tensor) -> Iterator[None]:
    """While entered, a traced network drops by these rows [b] of the global batch, and the step."""
    _current.append((tf.cast(rows, tf.uint32), tf.cast(step, tf.uint32)))
    try:
        yield
    finally:
        _current.pop()


def current_rows() -> tf.Tensor:
    """The rows that `dropping` was entered with, uint32 [b]."""
    return _current[-1][0]


@keras.saving.register_keras_serializable(package=PACKAGE)
class StepDropout(keras.layers.Layer):
    """Zeroes a share of the components in training, and scales the others up (inverted dropout).

    Outside of `dropping` it drops as Keras does.
    """

    def __init__(self, rate: float, **kwargs: Any):
        """`rate` is the share that is zeroed."""
        super().__init__(**kwargs)
        self.rate = rate
        self.supports_masking = True
        self.seed = random.getrandbits(32)  # Keras's own layers are seeded from here too

    def call(self, inputs, training=False):
        """[b, d] or [b, t, d] → the same."""
        if not training or not self.rate:
            return inputs
        if not _current:
            return keras.random.dropout(inputs, self.rate)
        rows = current_rows()[: tf.shape(inputs)[0]]
        if len(inputs.shape) == 2:
            return self.drop(inputs, mix(rows))
        places = tf.range(tf.shape(inputs)[1])
        return self.drop(inputs, token_keys(rows[:, None], places[None, :]))

    def drop(self, inputs: tf.Tensor, keys: tf.Tensor) -> tf.Tensor:
        """Inputs […, d] and a key for each of them, uint32 […] → […, d]."""
        step = _current[-1][1]
        size = tf.shape(inputs)[-1]
        components = mix(
            mix(tf.cast(tf.range(size), tf.uint32) + word(self.seed)) + mix(step + word(1))
        )
        drawn = mix(tf.bitwise.bitwise_xor(keys[..., None], components))
        keep = drawn >= tf.constant(round(self.rate * 2**32), tf.uint32)
        return inputs * tf.cast(keep, inputs.dtype) * (1 / (1 - self.rate))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate}


def hide_tokens(ids: tf.Tensor, rows: tf.Tensor, rate: float) -> tf.Tensor:
    """Ids, int32 [b, t] of rows [b], with a share of the tokens as unknown ones; padding stays.

    So the vector of unknown tokens is learned, which no training sentence has otherwise, and
    sentences are understood without each of their tokens (Bowman et al. 2016, "word dropout").
    Must be called within `dropping`.
    """
    keys = token_keys(rows[:, None], tf.range(tf.shape(ids)[1])[None, :])
    drawn = mix(keys + mix(_current[-1][1] + word(_HIDING)))
    hidden = (drawn < tf.constant(round(rate * 2**32), tf.uint32)) & (ids > 0)
    return tf.where(hidden, UNKNOWN_ID, ids)


def token_keys(rows: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
    """Rows uint32 and places int32, of shapes that fit → a key for each token, uint32."""
    return mix(mix(rows) + tf.cast(places, tf.uint32))
