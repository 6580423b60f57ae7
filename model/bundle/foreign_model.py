"""A Siamese Keras model that was trained elsewhere, cut into its encoder and its comparison.

Only then is each sentence encoded once. The cut is where the sides part for the last time: behind
the deepest layer that both go through, each by itself.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from transforms.errors import UserError

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


def read_model(path: str) -> keras.Model:
    """A `.keras` file, opened without running anything that it may hold.

    Raises:
        UserError: it is none, holds code (a Lambda layer), or layers that are not Keras's own.
    """
    if not path.endswith(".keras") or not zipfile.is_zipfile(path):
        raise UserError(
            f"{path} is no .keras file; save the model once more with model.save('model.keras')"
        )
    with zipfile.ZipFile(path) as archive:
        try:
            config = json.loads(archive.read("config.json"))
        except (KeyError, ValueError):
            raise UserError(f"{path} holds no config.json; it is not whole") from None
    for name, kind, own in _layers(config):
        if kind == "Lambda":
            raise UserError(
                f"{path}: the layer {name!r} is a Lambda, which is code; write it as layers of "
                "Keras (Subtract, Dot, …) or keras.ops, and save the model again"
            )
        if not own:
            raise UserError(
                f"{path}: the layer {name!r} is a {kind}, which is not Keras's own; build the "
                "model of Keras's layers and keras.ops, and save it again"
            )
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # whatever a foreign file makes of it
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path}: Keras cannot read it ({type(error).__name__}: {reason})"
        ) from None


def _layers(config: Any) -> Iterator[tuple[str, str, bool]]:
    """Name and class of everything that a config makes, and whether the class is Keras's."""
    if isinstance(config, list):
        for part in config:
            yield from _layers(part)
    if not isinstance(config, dict):
        return
    kind, module = config.get("class_name"), config.get("module")
    if isinstance(kind, str) and ("registered_name" in config or module is not None):
        inside = config.get("config")
        name = inside.get("name", kind) if isinstance(inside, dict) else kind
        builtin = kind in ("function", "__tensor__", "__keras_tensor__", "__numpy__")
        own = builtin or str(module or "keras").partition(".")[0] == "keras"
        yield str(name), kind, own
    for part in config.values():
        yield from _layers(part)


def split_twins(model: keras.Model, layer: str | None = None) -> ForeignTwins:
    """The model's two halves, tried against it.

    Args:
        model: with two inputs, a side each.
        layer: behind which to cut; None finds the deepest that both sides go through.

    Raises:
        UserError: it is no Siamese model.
    """
    inputs = model.inputs
    if len(inputs) != 2 or len(model.outputs) != 1:
        raise UserError(
            f"the model has {len(inputs)} inputs and {len(model.outputs)} outputs; expected two "
            "inputs, a side each, and one output"
        )
    if inputs[0].dtype != inputs[1].dtype or inputs[0].shape != inputs[1].shape:
        raise UserError("the model's two inputs are of another shape or type; expected twins")
    shared = list(_shared(model))
    names = [name for name, _, _ in shared]
    if not shared or (layer is not None and layer not in names):
        raise UserError(
            f"no layer {layer!r} that both sides go through; there are: "
            f"{', '.join(names) or 'none, so this is no Siamese model'}"
        )
    name, u, v = shared[-1] if layer is None else shared[names.index(layer)]
    if len(u.shape) != 2 or u.shape[-1] is None:
        raise UserError(
            f"behind the layer {name!r} a sentence is {u.shape}, and no vector; name another with "
            f"--encoder_layer: {', '.join(names)}"
        )
    twins = ForeignTwins(
        keras.Model(inputs[0], u, name="encoder"),
        keras.Model([u, v], model.outputs[0], name="comparison"),
        name,
    )
    _try(model, twins, keras.Model(inputs[1], v))
    return twins


def _shared(model: keras.Model) -> Iterator[tuple[str, Any, Any]]:
    """Layers that both sides go through, each by itself: name and both outputs, in their order."""
    sides = {id(tensor): frozenset([number]) for number, tensor in enumerate(model.inputs)}
    outputs: dict[str, dict[int, Any]] = {}
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if node.is_input:
                continue
            seen = frozenset().union(*(sides.get(id(t), frozenset()) for t in node.input_tensors))
            for tensor in node.output_tensors:
                sides[id(tensor)] = seen
            if len(seen) == 1 and len(node.output_tensors) == 1:
                (side,) = seen
                outputs.setdefault(node.operation.name, {})[side] = node.output_tensors[0]
    for name, found in outputs.items():
        if len(found) == 2:
            yield name, found[0], found[1]


def _try(model: keras.Model, twins: ForeignTwins, other: keras.Model) -> None:
    """Makes sure that the halves are the model, and the sides twins.

    Raises:
        UserError: they are not.
    """
    first, second = (_sample(model.inputs[0], seed) for seed in (1, 2))
    u, v = twins.encoder(first), twins.encoder(second)
    if not np.allclose(v, other(second), atol=_CLOSE):
        raise UserError("the model's two sides encode a sentence in different ways; expected twins")
    whole, halves = model([first, second]), twins.comparison([u, v])
    if not np.allclose(whole, halves, atol=_CLOSE):
        raise UserError(f"cut behind {twins.cut_at!r} the model gives something else")


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
