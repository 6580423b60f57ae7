"""A bundle of a Keras model that was trained elsewhere: its halves, its text, a threshold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from model.bundle.export import BundleFacts, publish_model
from model.bundle.foreign_model import ForeignTwins
from model.bundle.foreign_text import ForeignText, ForeignTokenizer
from model.bundle.loading import SAVED_MODEL
from model.recipe.reading import parse_recipe
from model.recipe.recipe import Recipe
from transforms.accounts.staging import Staging
from transforms.errors import UserError

_STRINGS = tf.TensorSpec([None], tf.string)
_IDS = tf.TensorSpec([None, None], tf.int32)
_SLACK = 1e-4  # how far rounding may take a similarity out of 0…1


@dataclass(frozen=True)
class Imported:
    """All that makes the bundle.

    Attributes:
        name: of the recipe, and so of the bundle.
        source: where the model comes from, in a few words.
        twins: the model's halves.
        text: how its text became ids.
        vocabulary: token → id; empty where the model takes sentences.
        gives: whether its output is a `similarity` (0…1) or a `distance`.
        threshold: similarity from which two sentences are similar.
        measured_on: which pairs that was chosen on.
    """

    name: str
    source: str
    twins: ForeignTwins
    text: ForeignText
    vocabulary: dict[str, int]
    gives: str
    threshold: float
    measured_on: str

    @property
    def recipe(self) -> Recipe:
        """What a bundle's recipe says where nothing was trained by one."""
        tokenizer = "none" if self.twins.reads_text else self.text.tokenizer
        return parse_recipe(
            {
                "name": self.name,
                "description": "A Keras model that was trained elsewhere, imported as it is",
                "source": self.source,
                "task": "binary",
                "labels": {"classes": ["0", "1"]},
                "text": {
                    "tokenizer": tokenizer if tokenizer in ("char", "none") else "word",
                    "lowercase": self.text.lowercase,
                    "nfkc": self.text.nfkc,
                    "max_tokens": max(3, self.text.max_tokens),
                },
                "encoder": {"kind": "imported"},
                "comparison": {"kind": "imported"},
                "loss": {"kind": "binary_crossentropy"},
                "untrained": {"threshold": self.threshold, "measured_on": self.measured_on},
            },
            source=self.name,
        )


class ImportedModule(tf.Module):
    """The functions of such a bundle, with the signatures of `signatures.ServingModule`."""

    def __init__(self, imported: Imported):
        super().__init__()
        twins = imported.twins
        self.encoder, self.comparison = twins.encoder, twins.comparison
        self.threshold = tf.Variable(imported.threshold, trainable=False, dtype=tf.float32)
        self.tokenizer = None
        if not twins.reads_text:
            self.tokenizer = ForeignTokenizer(imported.text, imported.vocabulary)
        self._text, self._gives, self._d = imported.text, imported.gives, twins.dimensions

    def signatures(self) -> dict[str, Any]:
        """Name → concrete function."""
        vectors = tf.TensorSpec([None, self._d], tf.float32)
        signatures = {
            "score": self._score.get_concrete_function(_STRINGS, _STRINGS),
            "encode": self._encode.get_concrete_function(_STRINGS),
            "compare": self._compare.get_concrete_function(vectors, vectors),
        }
        if self.tokenizer is not None:
            signatures["tokenize"] = self._tokenize.get_concrete_function(_STRINGS)
            signatures["encode_ids"] = self._encode_ids.get_concrete_function(_IDS)
        return signatures

    @tf.function
    def _score(self, sentence1: tf.Tensor, sentence2: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._compared(self._vectors_of(sentence1), self._vectors_of(sentence2))

    @tf.function
    def _encode(self, sentences: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"vectors": self._vectors_of(sentences)}

    @tf.function
    def _tokenize(self, sentences: tf.Tensor) -> dict[str, tf.Tensor]:
        assert self.tokenizer is not None
        ids = self.tokenizer(sentences)
        return {"values": tf.cast(ids.flat_values, tf.int32), "row_lengths": ids.row_lengths()}

    @tf.function
    def _encode_ids(self, ids: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"vectors": self._vectors(self._text.shaped(ids))}

    @tf.function
    def _compare(self, u: tf.Tensor, v: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._compared(u, v)

    def _vectors_of(self, sentences: tf.Tensor) -> tf.Tensor:
        if self.tokenizer is None:
            column = len(self.encoder.input_shape) == 2  # strings [b, 1], as Keras likes them
            return self._vectors(sentences[:, None] if column else sentences)
        ids = tf.cast(self.tokenizer(sentences).to_tensor(), tf.int32)
        return self._vectors(self._text.shaped(ids))

    def _vectors(self, inputs: tf.Tensor) -> tf.Tensor:
        if inputs.dtype != tf.string:
            inputs = tf.cast(inputs, self.encoder.input.dtype)
        return tf.cast(self.encoder(inputs, training=False), tf.float32)

    def _compared(self, u: tf.Tensor, v: tf.Tensor) -> dict[str, tf.Tensor]:
        output = tf.cast(self.comparison([u, v], training=False), tf.float32)
        similar = similarity_of(output, self._gives)
        return {"similarity": similar, "label": tf.cast(similar >= self.threshold, tf.int64)}


def similarity_of(output: Any, gives: str) -> Any:
    """What a model gives, [b], [b, 1] or two classes [b, 2] → similarity [b]."""
    if output.shape.rank == 2:
        output = output[:, -1]
    return keras.ops.exp(-output) if gives == "distance" else output


def check_gives(twins: ForeignTwins, gives: str) -> None:
    """Makes sure that what the model gives can be read as a similarity.

    Raises:
        UserError: it has another shape, or is outside of 0…1.
    """
    shape = twins.comparison.output_shape
    if len(shape) > 2 or (len(shape) == 2 and shape[-1] not in (1, 2)):
        raise UserError(f"the model gives {list(shape[1:])} numbers per pair; expected one or two")
    rng = tf.random.stateless_normal([64, twins.dimensions], [1, 2])
    found = similarity_of(twins.comparison([rng, tf.reverse(rng, [0])]), gives).numpy()
    if not (found >= -_SLACK).all() or not (found <= 1 + _SLACK).all():
        raise UserError(
            f"the model gives {found.min():.3g} to {found.max():.3g}; expected a similarity from 0 "
            "to 1; is it a distance? Give --gives distance"
        )


def check_ids(twins: ForeignTwins, vocabulary: dict[str, int], unknown: int | None) -> None:
    """Makes sure that the model knows every id that a sentence may become.

    Raises:
        UserError: it has no such id; the vocabulary is another model's.
    """
    for number in sorted({0, unknown or 0, max(vocabulary.values(), default=0)}):
        ids = tf.fill([1, twins.length or 3], number)
        try:
            vectors = twins.encoder(tf.cast(ids, twins.encoder.input.dtype)).numpy()
            known = np.isfinite(vectors).all()
        except tf.errors.InvalidArgumentError:  # an embedding has no such row
            known = False
        if not known:
            raise UserError(
                f"--vocabulary: the model has no id {number}; expected the vocabulary that it was "
                "trained with (and --unknown_id one of its ids)"
            )


def export_imported(imported: Imported, staging: Staging, *, run: str) -> dict[str, Any]:
    """Writes the bundle; it appears complete or not at all. Returns its manifest."""

    def write(local: Path) -> None:
        module = ImportedModule(imported)
        tf.saved_model.save(module, str(local / SAVED_MODEL), signatures=module.signatures())

    metrics = {
        "run": run,
        "recipe": imported.name,
        "task": "binary",
        "rows_train": 0,
        "vocabulary_size": max(imported.vocabulary.values(), default=-1) + 1,
        "threshold_measured_on": imported.measured_on,
        "cut_behind": imported.twins.cut_at,
    }
    facts = BundleFacts(imported.recipe, imported.twins.dimensions, imported.threshold, metrics)
    return publish_model(staging, write, facts)


def refuse(*_: Any, **__: Any) -> Any:
    """In the place of what makes a network: an imported one is not made again.

    Raises:
        UserError: always.
    """
    raise UserError(
        "the kind 'imported' belongs to bundles made by twinbeam import; such a bundle can score, "
        "be calibrated and be a teacher (distill.teacher), but it cannot be trained"
    )
