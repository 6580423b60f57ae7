"""What a run's steps work on: each data set's loss on the shared parts, and its batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from model.dataset.batch_plan import Records
from model.dataset.batches import InputShare, evaluation_batches
from model.dataset.data_sets import DataSet
from model.dataset.examples import Examples
from model.dataset.neighbours import arrange
from model.network.forward import choose_forward
from model.network.losses import make_loss
from model.network.siamese import Siamese, connect
from model.recipe.recipe import Recipe
from model.training.steps import Learner, distribute, make_eval_step, make_train_step
from model.training.weights import TrainedWeights


def learner_of(recipe: Recipe, weights: TrainedWeights, *, first: bool) -> Learner:
    """What a data set's training step works on: its own loss, on the parts of the first one's."""
    trained, network = weights.trained, weights.trained.network
    if not first:
        sides = [keras.Input(s.shape[1:], dtype=s.dtype, name=s.name) for s in network.inputs]
        output = connect(recipe, sides, trained.encoder, trained.comparison)
        trained = Siamese(trained.encoder, trained.comparison, keras.Model(sides, output))
    return Learner(
        recipe,
        trained.network,
        choose_forward(trained, recipe),
        make_loss(recipe),
        weights.optimizer,
        network.trainable_variables,
    )


def arranged(data_set: DataSet, folder: Path) -> tuple[Records, float | None]:
    """A data set's records in the order that its recipe wants.

    Args:
        data_set: with its recipe.
        folder: where they are written, if they are put in another order.

    Returns:
        The records; and where pairs that share sentences are neighbours, how many sentences a
        batch has for each of its pairs, else None.
    """
    training = data_set.recipe.training
    if training.batches == "lengths":
        return data_set.records, None
    folder.mkdir()
    return arrange(data_set.records, str(folder), training.batch_size)


def training_step(
    strategy: tf.distribute.Strategy,
    learner: Learner,
    make: Callable[[InputShare], tf.data.Dataset],
) -> tuple[Iterator[Any], Callable]:
    """The batches of a data set, spread over the replicas, and the step that takes one."""
    batches, spec = distribute(strategy, make)
    return batches, make_train_step(strategy, learner, element_spec=spec)


def evaluation_step(
    strategy: tf.distribute.Strategy, recipe: Recipe, examples: Examples, exact: Siamese
) -> tuple[Iterator[Any], Callable, int]:
    """The eval part's batches, without end, the step that takes one, and the steps of one pass."""
    size = recipe.training.batch_size

    def make(share: InputShare) -> tf.data.Dataset:
        return evaluation_batches(examples.eval.records(recipe), batch_size=size, share=share)

    batches, spec = distribute(strategy, make)
    step = make_eval_step(
        strategy, recipe, choose_forward(exact, recipe), make_loss(recipe), element_spec=spec
    )
    return batches, step, -(-examples.eval.total // size)
