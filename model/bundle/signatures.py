"""What a bundle can do, as one TensorFlow module with signatures on raw strings.

The module holds the transform graph, the encoder and the comparison, so text goes in and
similarities come out wherever a SavedModel can be loaded.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
import tensorflow_text  # noqa: F401 (registers operations of the transform graph)
import tensorflow_transform as tft

from model.bundle.folded_lstm import FoldedBiLstm, mean_in_order
from model.network.comparisons import compare
from model.network.siamese import Siamese, similarity
from model.recipe.recipe import Recipe

_STRINGS = tf.TensorSpec([None], tf.string)
_IDS = tf.TensorSpec([None, None], tf.int32)


class ServingModule(tf.Module):
    """The functions of a bundle; see the `signatures`.

    Shapes: sentences are strings [n], vectors float32 [n, d], similarity float32 [n], label
    int64 [n] (0 or 1 by the threshold, or the class), probabilities float32 [n, classes].
    """

    def __init__(self, siamese: Siamese, recipe: Recipe, examples: str, threshold: float):
        super().__init__()
        self.transform = tft.TFTransformOutput(examples).transform_features_layer()
        self.encoder = serving_encoder(siamese, recipe)
        self.comparison = siamese.comparison
        self.threshold = tf.Variable(threshold, trainable=False, dtype=tf.float32)
        self._recipe = recipe
        # Vectors that may be cut come in several lengths, and go to comparisons without weights.
        length = None if recipe.shorter else siamese.dimensions
        self._vectors = tf.TensorSpec([None, length], tf.float32)

    def signatures(self) -> dict[str, Any]:
        """Name → concrete function."""
        signatures = {
            "score": self._score.get_concrete_function(_STRINGS, _STRINGS),
            "encode": self._encode.get_concrete_function(_STRINGS),
            "compare": self._compare.get_concrete_function(self._vectors, self._vectors),
        }
        if not self._recipe.reads_text:
            signatures["tokenize"] = self._tokenize.get_concrete_function(_STRINGS)
            signatures["encode_ids"] = self._encode_ids.get_concrete_function(_IDS)
        return signatures

    @tf.function
    def _score(self, sentence1: tf.Tensor, sentence2: tf.Tensor) -> dict[str, tf.Tensor]:
        vectors = self._vectors_of(tf.concat([sentence1, sentence2], axis=0))
        return self._compared(*tf.split(vectors, 2))

    @tf.function
    def _encode(self, sentences: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"vectors": self._vectors_of(sentences)}

    @tf.function
    def _tokenize(self, sentences: tf.Tensor) -> dict[str, tf.Tensor]:
        ids = self._ids(sentences)
        return {"values": tf.cast(ids.flat_values, tf.int32), "row_lengths": ids.row_lengths()}

    @tf.function
    def _encode_ids(self, ids: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"vectors": self.encoder(ids)}

    @tf.function
    def _compare(self, u: tf.Tensor, v: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._compared(u, v)

    def _ids(self, sentences: tf.Tensor) -> tf.RaggedTensor:
        return self.transform({"sentence1": sentences})["ids1"]

    def _vectors_of(self, sentences: tf.Tensor) -> tf.Tensor:
        if self._recipe.reads_text:
            return self.encoder(self.transform({"sentence1": sentences})["text1"])
        return self.encoder(tf.cast(self._ids(sentences).to_tensor(), tf.int32))

    def _compared(self, u: tf.Tensor, v: tf.Tensor) -> dict[str, tf.Tensor]:
        if self._recipe.shorter:
            output = compare(self._recipe.comparison.kind, u, v)
        else:
            output = self.comparison([u, v], training=False)
        similar = tf.cast(similarity(self._recipe, output), tf.float32)
        if self._recipe.task == "classes":
            return {
                "similarity": similar,
                "label": tf.argmax(output, axis=-1),
                "probabilities": tf.nn.softmax(output),
            }
        return {"similarity": similar, "label": tf.cast(similar >= self.threshold, tf.int64)}


class RecurrentEncoder(tf.Module):
    """A stacked BiLSTM encoder with folded inputs, and its pooling."""

    def __init__(self, encoder: keras.Model, pooling: str):
        super().__init__()
        self.layers = FoldedBiLstm(encoder)
        self.pooling = pooling
        self.attention = encoder.get_layer("pool") if pooling == "attention" else None

    def __call__(self, ids: tf.Tensor) -> tf.Tensor:
        """Ids, int32 [b, t] → vectors [b, d]."""
        last, states = self.layers(ids)
        if self.pooling == "last":
            return last
        if self.attention is not None:
            return self.attention(tf.transpose(states, [1, 0, 2]), tf.not_equal(ids, 0))
        keep = tf.cast(tf.not_equal(tf.transpose(ids), 0), tf.float32)[:, :, None]
        pooled = []
        if "mean" in self.pooling:
            pooled.append(mean_in_order(states, keep))
        if "max" in self.pooling:
            pooled.append(tf.reduce_max(states + (keep - 1) * 1e9, axis=0))
        return tf.concat(pooled, axis=-1)


class PlainEncoder(tf.Module):
    """Any other Keras encoder, as it is in scoring."""

    def __init__(self, encoder: keras.Model):
        super().__init__()
        self.encoder = encoder

    def __call__(self, inputs: tf.Tensor) -> tf.Tensor:
        """Ids, int32 [b, t], or strings [b] → vectors, float32 [b, d]."""
        return tf.cast(self.encoder(inputs, training=False), tf.float32)


def serving_encoder(siamese: Siamese, recipe: Recipe) -> tf.Module:
    """The encoder as it runs in scoring: recurrent ones with their input projections folded."""
    if recipe.encoder_kind.recurrent:
        return RecurrentEncoder(siamese.encoder, getattr(recipe.encoder, "pooling", "last"))
    return PlainEncoder(siamese.encoder)
