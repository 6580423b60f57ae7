"""Which sentences hold a token that the vocabulary of an examples folder does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from model.recipe.reading import read_recipe
from transforms.errors import UserError
from transforms.storage import files


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

        unknown = unknown_id(self.examples)
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


def unknown_id(examples: str) -> int:
    """The id of tokens that the vocabulary of an examples folder does not hold.

    Raises:
        UserError: its recipe has no vocabulary.
    """
    from transforms.text.token_ids import UNKNOWN_ID
    from transforms.text.wordpieces import read_wordpieces

    path = files.join(examples, "recipe.yaml")
    recipe = read_recipe(files.read_bytes(path), source=path)
    if recipe.reads_text:
        raise UserError(f"--examples {examples}: its recipe reads raw text and has no vocabulary")
    if recipe.text.tokenizer == "wordpiece" and recipe.vocabulary_path is not None:
        return read_wordpieces(recipe.vocabulary_path).index("[UNK]")
    return UNKNOWN_ID
