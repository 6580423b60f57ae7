"""The two-sided network: both sentences through one encoder, then the comparison."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from model.network.comparisons import build_comparison, compare
from model.network.encoders import build_encoder
from model.network.pooling import PACKAGE
from model.network.universal_layers import QuantizedEmbedding
from model.recipe import parts

if TYPE_CHECKING:
    from model.recipe.recipe import Recipe


@dataclass(frozen=True)
class Siamese:
    """The parts of a model; they share their weights.

    Attributes:
        encoder: ids, int32 [b, t] with 0 as padding on the right (or strings [b]) → vectors [b, d].
        comparison: (u [b, d], v [b, d]) → output [b] or [b, classes], see `comparisons`.
        network: (ids1, ids2) → what the loss reads, see `connect`.
    """

    encoder: keras.Model
    comparison: keras.Model
    network: keras.Model

    @property
    def dimensions(self) -> int:
        """Length of a sentence's vector."""
        return self.encoder.output_shape[-1]

    @property
    def trained_ids(self) -> np.ndarray | None:
        """Of an encoder that brings its own table, the ids whose rows may be trained, [n]."""
        for layer in self.encoder.layers:
            if isinstance(layer, QuantizedEmbedding) and layer.trained_rows:
                return np.array(layer.trained_rows, np.int32) + 1
        return None


def build_siamese(
    recipe: Recipe,
    *,
    vocabulary_size: int,
    vectors: np.ndarray | None = None,
    trained_ids: np.ndarray | None = None,
    precision: str = "float32",
) -> Siamese:
    """The network of a recipe.

    Args:
        recipe: which encoder, comparison and loss.
        vocabulary_size: ids in use, padding (0) and out-of-vocabulary (1) included.
        vectors: start values of the embedding, [vocabulary_size, dimensions].
        trained_ids: ids whose rows may be trained, [n], if the encoder brings its own table.
        precision: what the encoder computes in, a name of a Keras dtype policy. Its weights, its
            pooling and all that follows are float32.

    Raises:
        UserError: vectors of another shape; files of a pre-trained model that are not there.
    """
    # The policy is global in Keras: only the encoder's layers are made under it.
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        encoder = build_encoder(
            recipe, vocabulary_size=vocabulary_size, vectors=vectors, trained_ids=trained_ids
        )
    finally:
        keras.config.set_dtype_policy(before)
    comparison = build_comparison(recipe, encoder.output_shape[-1])
    sides = [
        keras.Input(encoder.input_shape[1:], dtype=encoder.input.dtype, name=name)
        for name in (("text1", "text2") if recipe.reads_text else ("ids1", "ids2"))
    ]
    output = connect(recipe, sides, encoder, comparison)
    return Siamese(encoder, comparison, keras.Model(sides, output, name="siamese"))


def connect(recipe: Recipe, sides: Any, encode: Callable, compare_vectors: Callable) -> Any:
    """Both sides through one encoder at once, then what the loss reads.

    Args:
        recipe: says whether that are the vectors or the comparison's output.
        sides: ids [b, t1] and [b, t2], or strings [b] and [b].
        encode: ids [2 b, t] or strings [2 b] → vectors [2 b, d].
        compare_vectors: (u [b, d], v [b, d]) → output [b] or [b, classes].

    Returns:
        The comparison's output, or for losses on vectors `u` and `v`, [b, d] each; all three where
        a teacher's vectors are learned as well, the first as `output`.
    """
    u, v = Apart(name="apart")(encode(Together(name="together")(*sides)))
    vectors = {"u": u, "v": v}
    if recipe.loss_kind.on_vectors:
        return vectors
    output = compare_vectors([u, v])
    return {**vectors, "output": output} if recipe.learns_vectors else output


def judged(output: Any) -> Any:
    """What a loss reads of the network's output."""
    return output["output"] if isinstance(output, dict) and "output" in output else output


@keras.saving.register_keras_serializable(package=PACKAGE)
class Together(keras.layers.Layer):
    """Both sides in one batch, so that the encoder is called once."""

    def call(self, side1, side2):
        """Ids [b, t1] and [b, t2] → [2 b, max(t1, t2)]; strings [b] and [b] → [2 b]."""
        if side1.shape.rank == 1:
            return tf.concat([side1, side2], axis=0)
        # One call for both sides: twice the rows in a product, and one pass over recurrent steps.
        longest = tf.maximum(tf.shape(side1)[1], tf.shape(side2)[1])
        padded = [tf.pad(s, [[0, 0], [0, longest - tf.shape(s)[1]]]) for s in (side1, side2)]
        return tf.concat(padded, axis=0)

    def compute_output_spec(self, side1, side2):
        """Said outright: Keras cannot trace strings."""
        return keras.KerasTensor((None,) * len(side1.shape), side1.dtype)


@keras.saving.register_keras_serializable(package=PACKAGE)
class Apart(keras.layers.Layer):
    """The two halves of a batch."""

    def call(self, encoded):
        """[2 b, d] → ([b, d], [b, d])."""
        return ops.split(encoded, 2, axis=0)

    def compute_output_spec(self, encoded):
        """The batch is unknown, so its half is too."""
        return [keras.KerasTensor((None, encoded.shape[-1]), encoded.dtype) for _ in range(2)]


def fingerprints(sentences: Any) -> Any:
    """Ids [n, t] or strings [n] → int32 [n], equal for equal sentences; padding does not matter.

    For losses that must know where a batch repeats a sentence. 24 bits: collectives between GPUs
    take floats only, and float32 holds no more.
    """
    if sentences.dtype == tf.string:
        return tf.cast(tf.strings.to_hash_bucket_fast(sentences, 1 << 24), tf.int32)
    places = tf.range(1, tf.shape(sentences)[1] + 1)
    # Knuth's multiplier, mixed with the place; int32 overflow is meant. An id 0 adds nothing.
    factors = tf.bitwise.bitwise_xor(places * -1640531527, places * 97) | 1
    mixed = tf.reduce_sum(sentences * factors, axis=1) * -1640531527
    return tf.bitwise.bitwise_and(tf.bitwise.right_shift(mixed, 8), (1 << 24) - 1)


def similarity(recipe: Recipe, output: Any) -> Any:
    """Outputs of the network or of the comparison → similarities [b].

    0…1 for two classes; the probability of `recipe.similar_class` for several; the value on the
    scale of the labels for regression.

    Args:
        recipe: says how the output is to be read.
        output: [b], [b, classes], or `u` and `v` [b, d] from losses on vectors.
    """
    output = judged(output)
    if isinstance(output, dict):
        output = compare(recipe.comparison.kind, output["u"], output["v"])
    output = ops.convert_to_tensor(output)
    if recipe.task == "classes":  # logits; all other tasks have one number a pair
        return ops.softmax(output, axis=-1)[:, recipe.similar_class]
    similar = _unit(recipe, output)
    if recipe.task == "binary":
        return ops.clip(similar, 0, 1)
    low, high = recipe.label_range
    return low + similar * (high - low)


def unit_similarity(recipe: Recipe, output: Any) -> Any:
    """The comparison's output [b] → similarity [b] on the scale 0…1 (a cosine may lie outside)."""
    return _unit(recipe, output)


def _unit(recipe: Recipe, output: Any) -> Any:
    kind = recipe.comparison_kind.output
    if kind == "cosine":
        loss = recipe.loss
        low, high = (loss.low, loss.high) if isinstance(loss, parts.CosineMse) else (-1.0, 1.0)
        return (output - low) / (high - low)
    return ops.exp(output) if kind == "log_similarity" else ops.sigmoid(output)
