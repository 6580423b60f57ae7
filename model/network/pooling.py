"""From the vectors of a sentence's tokens to one vector: mean, max, both, or attention.

Padding never counts. `last` is no pooling: it is the final state of a recurrent layer.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

PACKAGE = "twinbeam"


class _Pool(keras.layers.Layer):
    """Takes Keras's mask along without a warning, and ends it: what comes out has no tokens."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def compute_mask(self, *inputs, previous_mask=None):
        """The mask ends here."""
        return None


@keras.saving.register_keras_serializable(package=PACKAGE)
class PoolTokens(_Pool):
    """Mean, max or both over the tokens that are not padding."""

    def __init__(self, how: str, **kwargs: Any):
        """`how` is `mean`, `max` or `mean_max`."""
        super().__init__(**kwargs)
        self.how = how

    def call(self, tokens, keep):
        """Tokens [b, t, d] and which of them are real [b, t] → [b, d], or [b, 2 d] for both."""
        keep = ops.cast(keep[:, :, None], tokens.dtype)
        mean = ops.sum(tokens * keep, axis=1) / ops.sum(keep, axis=1)
        if self.how == "mean":
            return mean
        # Not −inf: times zero, in a gradient, that would be NaN.
        greatest = ops.max(tokens + (keep - 1) * 1e9, axis=1)
        return greatest if self.how == "max" else ops.concatenate([mean, greatest], axis=-1)

    def get_config(self):
        return {**super().get_config(), "how": self.how}


@keras.saving.register_keras_serializable(package=PACKAGE)
class AttentionPool(_Pool):
    """A mean weighted by softmax(w · tanh(W token + b)) (Yang et al. 2016)."""

    def build(self, tokens_shape, keep_shape=None):
        """Makes W, b and w for tokens [b, t, d]."""
        size = tokens_shape[-1]
        self.hidden = keras.layers.Dense(
            size, activation="tanh", dtype=self.dtype_policy, name="hidden"
        )
        self.score = keras.layers.Dense(1, use_bias=False, dtype=self.dtype_policy, name="score")
        self.hidden.build(tokens_shape)
        self.score.build(tokens_shape)
        super().build(tokens_shape)

    def call(self, tokens, keep):
        """Tokens [b, t, d] and which of them are real [b, t] → [b, d]."""
        keep = ops.cast(keep[:, :, None], tokens.dtype)
        weights = ops.softmax(self.score(self.hidden(tokens)) + (keep - 1) * 1e9, axis=1)
        return ops.sum(tokens * weights, axis=1)


def pool(how: str, tokens: Any, keep: Any) -> Any:
    """Tokens [b, t, d] and which of them are real [b, t] → [b, d], or [b, 2 d] for `mean_max`."""
    exact = "float32"  # 1e9 and long sums are too much for half the bits
    if how == "attention":
        return AttentionPool(name="pool", dtype=exact)(tokens, keep)
    return PoolTokens(how, name="pool", dtype=exact)(tokens, keep)
