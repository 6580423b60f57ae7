"""A teacher's vectors of the training sentences, and how far a student's are from them.

`preprocess` had the teacher encode each distinct sentence once, into an embedding store beside the
examples; these hold a key of each sentence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from model.dataset.examples import Examples
from transforms.errors import UserError
from transforms.scoring.embedding_store import open_store
from transforms.storage import files
from transforms.text_keys import as_short

if TYPE_CHECKING:
    from model.recipe.recipe import Recipe

FIRST, SECOND = "first_vector", "second_vector"  # of a batch: the teacher's, [b, d]
_SAMPLE = 100_000  # vectors that the principal components are taken from


@dataclass(frozen=True, eq=False)
class TeacherVectors:
    """Vectors of unit length, [n, d], by keys in ascending order, int64 [n]."""

    keys: tf.Tensor
    vectors: tf.Tensor

    def add_to(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """A batch with its sentences' vectors instead of keys; unknown ones are zeros."""
        kept = {name: value for name, value in batch.items() if not name.endswith("_key")}
        found = {FIRST: self._of(batch["first_key"]), SECOND: self._of(batch["second_key"])}
        return kept | found

    def _of(self, keys: tf.Tensor) -> tf.Tensor:
        places = tf.searchsorted(self.keys, keys, out_type=tf.int64)
        places = tf.minimum(places, tf.size(self.keys, tf.int64) - 1)
        known = tf.cast(tf.equal(tf.gather(self.keys, places), keys), tf.float32)
        return tf.gather(self.vectors, places) * known[:, None]


def read_teacher(recipe: Recipe, examples: Examples, dimensions: int) -> TeacherVectors | None:
    """The vectors that the examples' teacher made, at most as long as the student's.

    None where the recipe learns none.

    Raises:
        UserError: they are not there any more.
    """
    if not recipe.learns_vectors:
        return None
    teachers = examples.manifest.get("teachers") or []
    folder = teachers[0].get("vectors") if teachers else None
    if not folder or not files.exists(files.join(folder, "store.json")):
        raise UserError(
            f"distill.vectors: the teacher's vectors are not in {folder}, where preprocess left "
            "them; preprocess again"
        )
    keys, vectors = open_store(folder).read()
    if not len(keys):
        raise UserError(f"distill.vectors: {folder} holds no vectors; preprocess again")
    short = as_short(keys)
    order = np.argsort(short, kind="stable")
    unit = shortened(vectors[order], dimensions)
    return TeacherVectors(tf.constant(short[order]), tf.constant(unit))


def shortened(vectors: np.ndarray, dimensions: int) -> np.ndarray:
    """Vectors [n, d] at unit length, [n, at most `dimensions`].

    Longer ones by their principal components, their mean not taken out: so as much is kept of inner
    products as can be (Reimers and Gurevych 2020 shorten a teacher's vectors by components, too).
    """
    if vectors.shape[1] > dimensions:
        sample = vectors[:: max(1, len(vectors) // _SAMPLE)].astype(np.float64)
        _, axes = np.linalg.eigh(sample.T @ sample)  # ascending: the largest come last
        axes = axes[:, ::-1][:, :dimensions]
        # An axis has no direction of its own: its largest component is made positive.
        axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(dimensions)])
        vectors = vectors @ axes.astype(np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)


def vector_losses(batch: dict[str, tf.Tensor], output: Any) -> tf.Tensor:
    """Squared distances of both sides' vectors from the teacher's at unit length, their mean, [b].

    Of a student with more floats the first ones count. Where there is no vector, nothing does.
    """
    size = batch[FIRST].shape[-1]
    apart = []
    for side, name in (("u", FIRST), ("v", SECOND)):
        unit = keras.ops.normalize(tf.cast(output[side][:, :size], tf.float32), axis=-1)
        known = tf.round(tf.reduce_sum(tf.square(batch[name]), axis=1))  # 1, or 0 without one
        apart.append(tf.reduce_sum(tf.square(unit - batch[name]), axis=1) * known)
    return (apart[0] + apart[1]) / 2
