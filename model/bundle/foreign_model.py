"""A Siamese Keras model that was trained elsewhere, cut into its encoder and its comparison.

Only then is each sentence encoded once. The cut is where the sides meet.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from transforms.errors import UserError, kind_and_line

_SAMPLE, _LENGTH, _IDS = 8, 12, 4  # sentences, tokens and ids that the halves are tried on
_CLOSE = 1e-5


@dataclass(frozen=True)
class ForeignTwins:
    """The halves of a model.

    Attributes:
        encoder: one side's input [b, t] or strings [b] → vectors [b, d].
        comparison: (u [b, d], v [b, d]) → the model's output.
        cut_at: name of the layer behind which it was cut.
    """

    encoder: keras.Model
    comparison: keras.Model
    cut_at: str

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        return int(self.encoder.output_shape[-1])

    @property
    def reads_text(self) -> bool:
        """Whether the model takes sentences as they are."""
        return bool(self.encoder.input.dtype == "string")

    @property
    def length(self) -> int | None:
        """How many ids a side takes; None for any number."""
        shape = self.encoder.input_shape
        return shape[1] if len(shape) > 1 else None


def split_twins(model: keras.Model, layer: str | None = None) -> ForeignTwins:
    """The model's two halves, checked against the model.

    Args:
        model: with two inputs, one for each side.
        layer: after which to cut, shared by both sides; None cuts where they meet.

    Raises:
        UserError: it is not a Siamese model.
    """
    inputs = model.inputs
    if len(inputs) != 2 or len(model.outputs) != 1:
        raise UserError(
            f"the model has {len(inputs)} inputs and {len(model.outputs)} outputs; expected two "
            "inputs, one for each side, and one output"
        )
    if inputs[0].dtype != inputs[1].dtype or inputs[0].shape != inputs[1].shape:
        raise UserError("the model's two inputs differ in shape or type; expected the same")
    if len(inputs[0].shape) > 2 or (
        inputs[0].dtype == "string" and inputs[0].shape[1:] not in ((), (1,))
    ):
        raise UserError(
            f"an input of the model is {inputs[0].dtype} {inputs[0].shape}; expected ids [pairs, "
            "tokens], or a sentence a pair"
        )
    name, u, v = _joined(model) if layer is None else _behind(model, layer)
    if len(u.shape) != 2 or u.shape[-1] is None:
        raise UserError(
            f"after the layer {name!r} a sentence is {u.shape}, not a vector; name another with "
            f"--encoder_layer: {_names(model)}"
        )
    twins = ForeignTwins(
        keras.Model(inputs[0], u, name="encoder"),
        keras.Model([u, v], model.outputs[0], name="comparison"),
        name,
    )
    try:
        _try(model, twins, keras.Model(inputs[1], v))
    except UserError:
        raise
    except Exception as error:  # whatever a foreign model makes of its own kind of input
        raise UserError(
            f"the model fails on sentences of its own shape ({kind_and_line(error)})"
        ) from None
    return twins


def _joined(model: keras.Model) -> tuple[str, Any, Any]:
    """What either side is where they meet: the layer's name, and both tensors.

    Raises:
        UserError: they do not meet, or at more than one tensor.
    """
    sides = _sides(model)
    met: tuple[dict[int, Any], dict[int, Any]] = ({}, {})
    for node in _nodes(model):
        inside = [sides[id(tensor)] for tensor in node.input_tensors]
        if len(frozenset().union(*inside)) < 2:
            continue
        for tensor, found in zip(node.input_tensors, inside, strict=True):
            if len(found) == 1:
                met[min(found)][id(tensor)] = tensor
    if [len(tensors) for tensors in met] != [1, 1]:
        raise UserError(
            "the model's sides do not meet at one vector each; name the layer that gives a "
            f"sentence's vector with --encoder_layer: {_names(model)}"
        )
    (u,), (v,) = (tensors.values() for tensors in met)
    return u._keras_history.operation.name, u, v


def _behind(model: keras.Model, layer: str) -> tuple[str, Any, Any]:
    """The same behind a layer that both sides go through, separately.

    Raises:
        UserError: they do not go through it.
    """
    found = _shared(model).get(layer)
    if found is None:
        raise UserError(
            f"--encoder_layer {layer}: no such layer is shared by both sides; these are: "
            f"{_names(model)}"
        )
    return layer, found[0], found[1]


def _names(model: keras.Model) -> str:
    return ", ".join(_shared(model)) or "none, so this is no Siamese model"


def _shared(model: keras.Model) -> dict[str, dict[int, Any]]:
    """Layers that both sides go through: name → number of the side → what comes out."""
    sides = _sides(model)
    outputs: dict[str, dict[int, Any]] = {}
    for node in _nodes(model):
        tensors = node.output_tensors
        if len(tensors) == 1 and len(sides[id(tensors[0])]) == 1:
            outputs.setdefault(node.operation.name, {})[min(sides[id(tensors[0])])] = tensors[0]
    return {name: found for name, found in outputs.items() if len(found) == 2}


def _nodes(model: keras.Model) -> Iterator[Any]:
    """The calls of layers in the model, from its inputs on."""
    for depth in sorted(model._nodes_by_depth, reverse=True):
        yield from (node for node in model._nodes_by_depth[depth] if not node.is_input)


def _sides(model: keras.Model) -> dict[int, frozenset[int]]:
    """Which of the two inputs each tensor comes from, by its `id`; constants from none."""
    sides: dict[int, frozenset[int]] = defaultdict(frozenset)
    sides |= {id(tensor): frozenset([number]) for number, tensor in enumerate(model.inputs)}
    for node in _nodes(model):
        found = frozenset().union(*(sides[id(tensor)] for tensor in node.input_tensors))
        sides |= {id(tensor): found for tensor in node.output_tensors}
    return sides


def _try(model: keras.Model, twins: ForeignTwins, other: keras.Model) -> None:
    """Checks that both halves together are the model, and that both sides encode in the same way.

    Raises:
        UserError: they are not.
    """
    first, second = (_sample(model.inputs[0], seed) for seed in (1, 2))
    u, v = twins.encoder(first), twins.encoder(second)
    if not np.isfinite(u).all() or not np.isfinite(v).all():
        raise UserError("the model's vectors are no numbers (nan); its training went wrong")
    if not np.allclose(v, other(second), atol=_CLOSE):
        raise UserError("the model's two sides encode a sentence differently; expected the same")
    whole, halves = model([first, second]), twins.comparison([u, v])
    if not np.allclose(whole, halves, atol=_CLOSE):
        raise UserError(
            f"the model cut after {twins.cut_at!r} gives other outputs than the original"
        )


def _sample(tensor: Any, seed: int) -> tf.Tensor:
    """A few sentences of either sort, [8, t] or strings."""
    rng = np.random.default_rng(seed)
    shape = [
        size or (_SAMPLE if place == 0 else _LENGTH) for place, size in enumerate(tensor.shape)
    ]
    numbers = rng.integers(1, _IDS, shape)
    if tensor.dtype == "string":
        return tf.constant([" ".join(map(str, row)) for row in numbers.reshape(_SAMPLE, -1)])
    return tf.cast(tf.constant(numbers), tensor.dtype)
