"""Optimisers and learning-rate schedules, as a recipe's `training` says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

if TYPE_CHECKING:
    from model.recipe.recipe import Recipe


class _GrowingAverage:
    """The moving average's decay grows with the steps t: its own, or (1 + t) / (10 + t) if less.

    So the average forgets the first weights, which a decay near 1 would carry for thousands of
    steps (as `num_updates` of TensorFlow's ExponentialMovingAverage does).
    """

    iterations: Any

    @property
    def ema_momentum(self) -> tf.Tensor:
        """The decay at this step."""
        step = tf.cast(self.iterations, tf.float32)
        return tf.minimum(self._decay, (1 + step) / (10 + step))

    @ema_momentum.setter
    def ema_momentum(self, decay: float) -> None:
        self._decay = decay


class Nadam(_GrowingAverage, keras.optimizers.Nadam):
    """Keras's, with such an average."""


class Adam(_GrowingAverage, keras.optimizers.Adam):
    """Keras's, with such an average."""


class AdamW(_GrowingAverage, keras.optimizers.AdamW):
    """Keras's, with such an average."""


_KINDS: dict[str, type[keras.optimizers.Optimizer]] = {
    "nadam": Nadam,
    "adam": Adam,
    "adamw": AdamW,
}
NOT_DECAYED = ("bias", "gamma", "beta", "embeddings", "positions")


def make_optimizer(recipe: Recipe, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """The recipe's optimiser, not yet built.

    Weight decay is decoupled (Loshchilov and Hutter 2019) for every kind and leaves out biases,
    norms, embeddings and positions. With `average`, `finalize_variable_values` puts the moving
    average of the weights in their place.
    """
    spec = recipe.training
    average = {"use_ema": True, "ema_momentum": spec.average} if spec.average else {}
    optimizer = _KINDS[spec.optimizer](
        learning_rate=make_schedule(recipe, steps_per_epoch),
        epsilon=spec.epsilon,
        weight_decay=spec.weight_decay or (0.0 if spec.optimizer == "adamw" else None),
        global_clipnorm=spec.clip_norm,
        **average,
    )
    if spec.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=list(NOT_DECAYED))
    return optimizer


def make_schedule(
    recipe: Recipe, steps_per_epoch: int
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """Learning rate by step: up in a line over the warm-up, then constant or down by a cosine.

    The cosine ends at zero with the last step of the last epoch.
    """
    spec = recipe.training
    constant = spec.schedule == "constant"
    steps = max(1, steps_per_epoch * spec.epochs)
    warmup = round(spec.warmup * steps)
    if constant and not warmup:
        return spec.learning_rate
    rising = {"warmup_target": spec.learning_rate, "warmup_steps": warmup} if warmup else {}
    return keras.optimizers.schedules.CosineDecay(
        spec.learning_rate / (warmup + 1) if warmup else spec.learning_rate,
        decay_steps=max(1, steps - warmup),
        alpha=1.0 if constant else 0.0,  # a cosine that falls to 1.0 of its start stays there
        **rising,
    )


def dense(
    gradients: Sequence[tf.Tensor | tf.IndexedSlices | None], variables: Sequence[Any]
) -> list[tf.Tensor]:
    """Each gradient as a tensor of its variable's shape, which is what optimizers should be given.

    That of a looked-up embedding names a row once for each use, and Keras's optimizers square each
    of them where the square of their sum is meant. A weight that the loss does not reach (a BERT's
    pooler under mean pooling) has none, which cannot be added up between replicas.
    """
    return [
        tf.zeros(variable.shape) if gradient is None else tf.convert_to_tensor(gradient)
        for gradient, variable in zip(gradients, variables, strict=True)
    ]
