"""The weights of a run: those that are trained, those that are evaluated, and their average.

Evaluated and exported is a network in float32. Trained is the same one, or its copy in another
precision, whose weights go back into it before each evaluation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import keras
import numpy as np
import tensorflow as tf

from model.network.siamese import Siamese, build_siamese
from model.recipe.recipe import Recipe
from model.training.optimizers import make_optimizer
from model.training.strategy import Placement


class TrainedWeights:
    """A network in training, its optimizer, and the exact network that its weights go into.

    Attributes:
        exact: what is evaluated and exported, float32.
        trained: what is trained: `exact` itself, or one of another precision.
        optimizer: of the trained network's weights.
    """

    def __init__(
        self,
        exact: Siamese,
        recipe: Recipe,
        placement: Placement,
        *,
        vocabulary_size: int,
        steps: int,
    ):
        """`exact` was built in the placement's scope; `steps` is an epoch's."""
        self._strategy, self._average = placement.strategy, recipe.training.average
        precision = recipe.training.precision
        self.exact = self.trained = exact
        with self._strategy.scope():
            if precision != "float32":
                self.trained = build_siamese(
                    recipe,
                    vocabulary_size=vocabulary_size,
                    trained_ids=exact.trained_ids,
                    precision=precision,
                )
                copy_weights(exact.network, self.trained.network)
            self.optimizer = make_optimizer(recipe, steps)
            self.optimizer.build(self._variables)

    @property
    def _variables(self) -> list[keras.Variable]:
        return self.trained.network.trainable_variables

    @property
    def state(self) -> list[keras.Variable]:
        """All that training changes: weights, and what the optimizer remembers."""
        return self.trained.network.variables + self.optimizer.variables

    def values(self) -> list[np.ndarray]:
        """The trained weights."""
        return [variable.numpy() for variable in self._variables]

    def assign(self, values: Sequence[np.ndarray]) -> None:
        """Replaces the trained weights by other values."""
        for variable, value in zip(self._variables, values, strict=True):
            variable.assign(value)

    def update_exact(self) -> None:
        """The exact network gets the weights as they are now."""
        copy_weights(self.trained.network, self.exact.network)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The moving average in place of the weights, where the recipe keeps one."""
        if self._average is None:
            yield
            return
        # Keras's optimizer overwrites the weights with their average; training has to continue from
        # the weights themselves, or each epoch would start from an average of averages.
        own = self.values()
        with self._strategy.scope():
            self.optimizer.finalize_variable_values(self._variables)
        yield
        self.assign(own)


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """All weights, from one network to another of the same shape; nothing where it is itself."""
    if source is target:
        return
    for variable, value in zip(target.variables, source.variables, strict=True):
        variable.assign(value.numpy())


def share_weights(network: keras.Model, placement: Placement) -> None:
    """All workers begin with the chief's weights, to the bit; nothing where there is one worker.

    Other machines may round word vectors or pretraining another way, or may not have made them.
    """
    if placement.cluster.workers == 1:
        return
    chief = placement.cluster.is_chief

    @tf.function
    def of_chief(value: tf.Tensor) -> tf.Tensor:
        def on_replica() -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            mine = value if chief else tf.zeros_like(value)  # only the first replica speaks
            first = tf.equal(context.replica_id_in_sync_group, 0)
            shared = tf.where(first, mine, tf.zeros_like(value))
            return context.all_reduce(tf.distribute.ReduceOp.SUM, shared)

        return placement.strategy.experimental_local_results(placement.strategy.run(on_replica))[0]

    for variable in network.variables:
        if variable.dtype == "float32":  # seeds of Keras's random numbers are of no use here
            variable.assign(of_chief(tf.constant(variable.numpy())))
