"""How training runs the network: through Keras, or for some encoders on a CPU packed.

`packed_lstm` has the recurrent encoders. The Universal Sentence Encoder's way is below, the same
function as its Keras layers up to rounding:

- Sentences that are the same are encoded once. Questions of a service come in many pairs: where a
  batch keeps such pairs together (`training.batches: neighbours`), that saves much of the work.
- All sentences are in one row of tokens, with as many zeros between two as the widest n-gram
  reaches: short ones are not padded to the longest.
- Where no component of a token is dropped, what depends on a token alone is computed once for each
  distinct token.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import tensorflow as tf

from model.network.dropout import current_rows, dropping_rows, token_keys
from model.network.packed_lstm import encode_packed, spread
from model.network.siamese import Siamese, connect
from model.network.universal import NGRAMS, branches, project

if TYPE_CHECKING:
    from model.recipe.recipe import Recipe

Forward = Callable[[tuple[Any, Any], bool], Any]
GAP = max(NGRAMS) // 2  # zeros after a sentence, before the next: no n-gram sees both


def choose_forward(siamese: Siamese, recipe: Recipe) -> Forward:
    """A function (both sides, training) → output of the network.

    On a GPU, Keras runs LSTMs by cuDNN; the packed ways are for CPUs, and for float32.
    """
    kind = recipe.encoder_kind
    exact = siamese.encoder.compute_dtype == "float32"
    if exact and not tf.config.list_logical_devices("GPU"):
        if kind.recurrent:
            return packed_forward(siamese, recipe)
        if kind.encodes_once and not recipe.training.xla:
            return distinct_forward(siamese, recipe)
    # GPU only, for recurrent encoders in float32: cuDNN's kernels (test_gpu.py).
    return lambda sides, training: siamese.network(sides, training=training)


def packed_forward(siamese: Siamese, recipe: Recipe) -> Forward:
    """The network with its encoder's recurrence packed; same weights, same result."""

    def forward(sides: tuple[Any, Any], training: bool) -> Any:
        return connect(
            recipe,
            sides,
            lambda ids: encode_packed(siamese.encoder, ids, training=training),
            lambda vectors: siamese.comparison(vectors, training=training),
        )

    return forward


def distinct_forward(siamese: Siamese, recipe: Recipe) -> Forward:
    """The network with each sentence of a batch encoded once; same weights, same result."""
    encode = encode_distinct(siamese.encoder)

    def forward(sides: tuple[Any, Any], training: bool) -> Any:
        return connect(
            recipe,
            sides,
            lambda ids: encode(ids, training=training),
            lambda vectors: siamese.comparison(vectors, training=training),
        )

    return forward


class Packing(NamedTuple):
    """Distinct sentences end to end in a row of N places; all int32 but `real`."""

    tokens: tf.Tensor  # [N], 0 in gaps
    real: tf.Tensor  # [N, 1], 1 for each token and 0 in gaps
    owner: tf.Tensor  # [N], number of the sentence, also in the gap after it
    times: tf.Tensor  # [N], place in the sentence
    count: tf.Tensor  # [], sentences


def pack(ids: tf.Tensor) -> Packing:
    """The packing of ids, int32 [n, t], 0 as padding on the right."""
    lengths = tf.reduce_sum(tf.cast(ids > 0, tf.int32), axis=1)
    wide = tf.pad(ids, [[0, 0], [0, GAP]])
    taken = tf.range(tf.shape(wide)[1])[None, :] < lengths[:, None] + GAP
    places = tf.cast(tf.where(taken), tf.int32)
    tokens = tf.boolean_mask(wide, taken)
    real = tf.cast(tokens > 0, tf.float32)[:, None]
    return Packing(tokens, real, places[:, 0], places[:, 1], tf.shape(ids)[0])


def encode_distinct(encoder: keras.Model) -> Callable[..., tf.Tensor]:
    """A function (ids [n, t], training=…) → what a `universal` encoder gives of them, [n, 512].

    In training it must be called within `dropout.dropping`; of equal sentences the first one's row
    decides what is dropped.
    """
    after_sum = keras.Model(encoder.get_layer("sum").output, encoder.output)

    def encode(ids: tf.Tensor, *, training: bool) -> tf.Tensor:
        distinct, place = tf.raw_ops.UniqueV2(x=ids, axis=[0])
        packing = pack(distinct)
        if training:
            first = tf.math.unsorted_segment_min(
                tf.range(tf.shape(ids)[0]), place, num_segments=packing.count
            )
            with dropping_rows(tf.gather(current_rows(), first)):
                summed = _sums(encoder, packing, training=True)
        else:
            summed = _sums(encoder, packing, training=False)
        return spread(after_sum(summed), place)

    return encode


def _sums(encoder: keras.Model, packing: Packing, *, training: bool) -> tf.Tensor:
    """The projected sum over the tokens of each sentence, [n, 512]."""
    tokens, wide = _tokens(encoder, packing, training=training)
    keep = packing.real[None]
    # A batch of one long row: gaps are zeroed before each convolution, as padding is.
    parts = branches(wide[None], keep, encoder.get_layer)
    joined = tf.concat([tokens, *(part[0] for part in parts)], axis=-1)
    return encoder.get_layer("sum").of_packed(joined, packing.real, packing.owner)


def _tokens(
    encoder: keras.Model, packing: Packing, *, training: bool
) -> tuple[tf.Tensor, tf.Tensor]:
    """Vectors of the tokens [N, 512], and what the branches begin with [N, 768]."""
    table, layers = encoder.get_layer("table"), {layer.name: layer for layer in encoder.layers}
    distinct, place = tf.unique(packing.tokens)
    vectors = table(distinct)
    if not (training and "drop_tokens" in layers):
        return spread(vectors, place), spread(project(vectors, encoder.get_layer), place)
    keys = token_keys(tf.gather(current_rows(), packing.owner), packing.times)
    dropped = layers["drop_tokens"].drop(spread(vectors, place), keys)
    return dropped, project(dropped, encoder.get_layer)
