"""Several data sets in one training: each with its own loss, all through one encoder.

The first one's recipe decides the network, the optimiser, and what is evaluated and exported. Of
the others only steps are taken, mixed with its own in a random order, as many as each has batches:
so large ones count more (as sentence-transformers' proportional sampling has it).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from model.dataset.batch_plan import EpochOrder, Records
from model.dataset.batches import InputShare, training_batches
from model.dataset.examples import Examples, read_vocabulary
from model.dataset.teacher_vectors import TeacherVectors, read_teacher
from model.recipe.recipe import Recipe
from transforms.text.token_ids import FIRST_ID, UNKNOWN_ID

_ORDER = 1  # sets the order of steps apart from other uses of the seed


@dataclass(frozen=True, eq=False)
class DataSet:
    """One of them.

    Attributes:
        recipe: its own; of it the loss, the batch size and what is done to a batch count.
        examples: of its training part.
        ids: the first data set's id for each of its own, int32 [ids]; None where they are the same.
        teacher: vectors that it learns from.
    """

    recipe: Recipe
    examples: Examples
    ids: np.ndarray | None = None
    teacher: TeacherVectors | None = None

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return -(-self.examples.train.total // self.recipe.training.batch_size)

    @property
    def records(self) -> Records:
        """The examples of its training part."""
        return self.examples.train.records(self.recipe)

    def batches(
        self,
        share: InputShare,
        records: Records,
        order: EpochOrder,
        epochs: range,
        skip_steps: int,
    ) -> tf.data.Dataset:
        """Its batches, see `training_batches`, in the first data set's ids."""
        found = training_batches(
            records,
            batch_size=self.recipe.training.batch_size,
            order=order,
            epochs=epochs,
            skip_steps=skip_steps,
            share=share,
        )
        if self.ids is not None:
            ids = tf.constant(self.ids)
            found = found.map(lambda batch: _with_ids(batch, ids))
        return found if self.teacher is None else found.map(self.teacher.add_to)


def _with_ids(batch: dict[str, tf.Tensor], ids: tf.Tensor) -> dict[str, tf.Tensor]:
    sides = {name: tf.gather(ids, batch[name]) for name in batch if name.startswith("ids")}
    return {**batch, **sides}


def data_sets(recipe: Recipe, examples: Examples, dimensions: int) -> list[DataSet]:
    """The first data set, and then the others.

    Raises:
        UserError: one does not go with the first.
    """
    first = DataSet(recipe, examples, teacher=read_teacher(recipe, examples, dimensions))
    others = [
        DataSet(
            other_recipe,
            other,
            _ids(recipe, examples, other),
            read_teacher(other_recipe, other, dimensions),
        )
        for other_recipe, other in examples.more
    ]
    return [first, *others]


def _ids(recipe: Recipe, first: Examples, other: Examples) -> np.ndarray | None:
    """Where vocabularies were learned apart, a token's id in the first one's; unknown if not there.

    A vocabulary that comes with a pre-trained model is the same in both.
    """
    if recipe.embedding is None:
        return None
    places = {word: id for id, word in enumerate(read_vocabulary(first.folder), start=FIRST_ID)}
    words = read_vocabulary(other.folder)
    known = [places.get(word, UNKNOWN_ID) for word in words]
    return np.array([*range(FIRST_ID), *known], np.int32)


def order_of_steps(sets: list[DataSet], seed: int, epoch: int) -> np.ndarray:
    """Which data set each step of an epoch takes its batch from, [steps]; the same for a seed."""
    numbers = np.repeat(np.arange(len(sets)), [each.steps for each in sets])
    return np.random.default_rng([seed, epoch, _ORDER]).permutation(numbers)
