"""Dropout that depends on the example and the step, and not on who computes it.

Keras draws a mask for the rows of a replica, so two workers drop other things than one. Here a
mask is a hash of the seed, the step, the row's number in the global batch, the token's place and
the component: one worker and many drop the same, and a run that resumes from a checkpoint drops
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

_HEADS = 0x68656164  # sets rows of attention's heads apart from rows of the batch
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


@contextmanager
def dropping_rows(rows: tf.Tensor) -> Iterator[None]:
    """Within `dropping`: by other rows, at the same step."""
    with dropping(rows, _current[-1][1]):
        yield


def current_rows() -> tf.Tensor:
    """The rows that `dropping` was entered with, uint32 [b]."""
    return _current[-1][0]


def draw_mask(inputs: tf.Tensor, rate: float, seed: int) -> tf.Tensor:
    """Inputs [b, d], [b, t, d] or attention [b, heads, t, t] → the same, a share of it zeroed.

    Must be called within `dropping`. A component's fate hangs on its row, its place in the sentence
    and its own number, never on how wide the batch is padded.
    """
    rows = current_rows()[: tf.shape(inputs)[0]]
    if len(inputs.shape) == 2:
        return drop(inputs, rate, seed, mix(rows))
    places = tf.range(tf.shape(inputs)[-2])
    if len(inputs.shape) == 3:
        return drop(inputs, rate, seed, token_keys(rows[:, None], places[None, :]))
    heads = mix(tf.cast(tf.range(tf.shape(inputs)[1]), tf.uint32) + word(_HEADS))
    by_head = rows[:, None] + heads[None, :]
    return drop(inputs, rate, seed, token_keys(by_head[:, :, None], places[None, None, :]))


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
        return draw_mask(inputs, self.rate, self.seed)

    def drop(self, inputs: tf.Tensor, keys: tf.Tensor) -> tf.Tensor:
        """Inputs […, d] and a key for each of them, uint32 […] → […, d]."""
        return drop(inputs, self.rate, self.seed, keys)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate}


class SteppedDropout(keras.layers.Dropout):
    """Keras's own layer, where a network that is not ours has one; see `drop_by_step`."""

    step_seed: int

    def call(self, inputs, training=False):
        """[b, t, d] or attention [b, heads, t, t] → the same."""
        if not training or not self.rate or not _current:
            return super().call(inputs, training=training)
        return draw_mask(inputs, self.rate, self.step_seed)


def drop_by_step(layer: keras.layers.Layer) -> None:
    """Makes all of Keras's dropout inside of a built layer or model drop by example and step.

    Attention and pre-trained networks make their dropout themselves, and give no way to hand in
    another. A class that only overrides `call` can replace an instance's own.
    """
    for inner in layer._flatten_layers():
        if type(inner) is keras.layers.Dropout:
            inner.step_seed = random.getrandbits(32)
            inner.__class__ = SteppedDropout


def drop(inputs: tf.Tensor, rate: float, seed: int, keys: tf.Tensor) -> tf.Tensor:
    """Inputs […, d] and a key for each of them, uint32 […] → […, d]."""
    step = _current[-1][1]
    size = tf.shape(inputs)[-1]
    components = mix(mix(tf.cast(tf.range(size), tf.uint32) + word(seed)) + mix(step + word(1)))
    drawn = mix(tf.bitwise.bitwise_xor(keys[..., None], components))
    keep = drawn >= tf.constant(round(rate * 2**32), tf.uint32)
    return inputs * tf.cast(keep, inputs.dtype) * (1 / (1 - rate))


def hide_tokens(ids: tf.Tensor, rows: tf.Tensor, rate: float) -> tf.Tensor:
    """Ids, int32 [b, t] of rows [b], with a share of the tokens as unknown ones; padding stays.

    So the vector of unknown tokens is learned, although no training sentence has any, and
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
