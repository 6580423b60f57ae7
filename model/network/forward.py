"""How training runs the network: through Keras, or for some encoders on a CPU packed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from model.network.packed_lstm import encode_packed
from model.network.packed_universal import encode_distinct
from model.network.siamese import Siamese, connect

if TYPE_CHECKING:
    from model.recipe.recipe import Recipe

Forward = Callable[[tuple[Any, Any], bool], Any]


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
