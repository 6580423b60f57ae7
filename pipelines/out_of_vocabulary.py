"""Tells which sentences hold a token that the vocabulary of an examples folder does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from model.recipe import read_recipe
from transforms import files
from transforms.errors import UserError


@dataclass(frozen=True)
class LoadUnknown:
    """Opens the transform graph of an examples folder, in the worker that calls it.

    Attributes:
        examples: the folder.
    """

    examples: str

    def __call__(self) -> Callable[[pa.Array], np.ndarray]:
        """The function from sentences [n] to whether each has an unknown token, bool [n]."""
        import tensorflow as tf
        import tensorflow_text  # noqa: F401 (registers operations of the transform graph)
        import tensorflow_transform as tft

        from pipelines.preprocess import text_features

        where = files.join(self.examples, "recipe.yaml")
        unknown = text_features(read_recipe(files.read_bytes(where), where=where)).unknown_id
        if unknown is None:
            raise UserError(
                f"--examples {self.examples}: its recipe has no vocabulary; leave it out"
            )
        with files.local_copy(self.examples) as folder:
            layer = tft.TFTransformOutput(folder).transform_features_layer()

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def has_unknown(sentences: tf.Tensor) -> tf.Tensor:
            ids = layer({"sentence1": sentences})["ids1"]
            return tf.reduce_any(tf.equal(ids, unknown), axis=1)

        def find(sentences: pa.Array) -> np.ndarray:
            encoded = sentences.dictionary_encode()
            found = has_unknown(tf.constant(encoded.dictionary.to_pylist(), tf.string)).numpy()
            return found[encoded.indices.to_numpy()]

        return find
