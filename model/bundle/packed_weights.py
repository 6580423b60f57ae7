"""What the C++ encoders are made from, kept in the bundle beside the SavedModel.

`model.kernels` reads it. Kernels are [inputs, outputs], gates in Keras's order; nothing is worked
out ahead, so the file says no more than the network's weights do.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from model.kernels.encoders import ABOUT, RESIDUAL
from model.network.siamese import Siamese
from model.network.universal import NGRAMS
from model.recipe import parts
from model.recipe.recipe import Recipe

# What the size of a BERT or Transformer, and the width of its heads, must be multiples of.
ACROSS, HEAD = 32, 16


def write_packed_weights(path: Path, siamese: Siamese, recipe: Recipe) -> None:
    """Writes the arrays of an encoder that C++ knows; no file for any other."""
    found: dict[str, Any] | None = packed_weights(siamese.encoder, recipe)
    if found is not None:
        np.savez(path, **found)


def packed_weights(encoder: keras.Model, recipe: Recipe) -> dict[str, np.ndarray] | None:
    """Name → array, and what they are as JSON; None where C++ does not know the encoder."""
    spec = recipe.encoder
    if isinstance(spec, parts.BiLstm) and spec.pooling != "attention":
        about: dict[str, Any] = {"kind": "lstm", "units": list(spec.units), "pooling": spec.pooling}
        return {ABOUT: _json(about), **dict(_bilstm(encoder, len(spec.units)))}
    if isinstance(spec, parts.Cnn) and spec.pooling != "attention":
        about = {"kind": "cnn", "widths": list(spec.widths), "pooling": spec.pooling}
        return {ABOUT: _json(about), **dict(_cnn(encoder, spec.widths))}
    if isinstance(spec, parts.Transformer) and spec.pooling != "attention":
        size = encoder.get_layer("embedding").output_dim
        if not _fits(size, spec.heads):
            return None
        about = {
            "kind": "transformer",
            "heads": spec.heads,
            "layers": spec.layers,
            "pooling": spec.pooling,
            "epsilon": encoder.get_layer("norm").epsilon,
        }
        return {ABOUT: _json(about), **dict(_transformer(encoder, spec.layers))}
    # C++ has the ids that WordPiece gives, and BERT alone has segments.
    if isinstance(spec, parts.Bert) and recipe.text.tokenizer == "wordpiece":
        backbone = next(layer for layer in encoder.layers if hasattr(layer, "transformer_layers"))
        heads = backbone.num_heads
        if not hasattr(backbone, "num_segments") or not _fits(backbone.hidden_dim, heads):
            return None
        about = {
            "kind": "bert",
            "heads": heads,
            "layers": backbone.num_layers,
            "pooling": spec.pooling,
            "normalize": spec.normalize,
            "epsilon": backbone.get_layer("embeddings_layer_norm").epsilon,
        }
        return {ABOUT: _json(about), **dict(_bert(backbone))}
    if isinstance(spec, parts.Universal):
        about = {"kind": "universal", "orders": list(NGRAMS), "normalize": spec.normalize}
        return {ABOUT: _json(about), **dict(_universal(encoder))}
    return None


def _fits(size: int, heads: int) -> bool:
    return not (size % ACROSS or size % heads or size // heads % HEAD)


def _json(about: dict[str, Any]) -> np.ndarray:
    return np.frombuffer(json.dumps(about).encode(), np.uint8)


def _bilstm(encoder: keras.Model, layers: int) -> Iterator[tuple[str, np.ndarray]]:
    yield "embeddings", encoder.get_layer("embedding").get_weights()[0]
    for number in range(layers):
        both = encoder.get_layer(f"bilstm_{number + 1}")
        for side, lstm in (("forward", both.forward_layer), ("backward", both.backward_layer)):
            names = ("kernel", "recurrent", "bias")
            for name, weights in zip(names, lstm.get_weights(), strict=True):
                yield f"layer_{number}_{side}_{name}", weights


def _cnn(encoder: keras.Model, widths: Sequence[int]) -> Iterator[tuple[str, np.ndarray]]:
    yield "embeddings", encoder.get_layer("embedding").get_weights()[0]
    for width in widths:
        kernel, bias = encoder.get_layer(f"conv_{width}").get_weights()
        yield f"conv_{width}_kernel", kernel.reshape(-1, kernel.shape[-1])
        yield f"conv_{width}_bias", bias


def _transformer(encoder: keras.Model, layers: int) -> Iterator[tuple[str, np.ndarray]]:
    yield "embeddings", encoder.get_layer("embedding").get_weights()[0]
    yield "positions", _array(encoder.get_layer("positions").vectors)
    yield from _norm("", encoder.get_layer("norm"))
    for number in range(layers):
        name, block = f"layer_{number}_", f"block_{number + 1}"
        yield from _attention(name, encoder.get_layer(f"{block}_attention"))
        for part, norm in (("first", "norm_1"), ("second", "norm_2")):
            yield from _norm(f"{name}{part}_", encoder.get_layer(f"{block}_{norm}"))
        for part in ("wide", "narrow"):
            yield from _dense(f"{name}{part}", encoder.get_layer(f"{block}_{part}"))


def _attention(name: str, attention: Any) -> Iterator[tuple[str, np.ndarray]]:
    projections = (attention.query_dense, attention.key_dense, attention.value_dense)
    size = _array(attention.query_dense.kernel).shape[0]
    kernels = [_array(dense.kernel).reshape(size, size) for dense in projections]
    biases = [_array(dense.bias).ravel() for dense in projections]
    yield name + "qkv_kernel", np.concatenate(kernels, axis=1)
    yield name + "qkv_bias", np.concatenate(biases)
    yield name + "attended_kernel", _array(attention.output_dense.kernel).reshape(size, size)
    yield name + "attended_bias", _array(attention.output_dense.bias)


def _dense(name: str, dense: keras.layers.Dense) -> Iterator[tuple[str, np.ndarray]]:
    yield f"{name}_kernel", _array(dense.kernel)
    yield f"{name}_bias", _array(dense.bias)


def _bert(backbone: keras.Model) -> Iterator[tuple[str, np.ndarray]]:
    yield "embeddings", _array(backbone.get_layer("token_embedding").embeddings)
    positions = backbone.get_layer("position_embedding").position_embeddings
    segments = backbone.get_layer("segment_embedding").embeddings
    yield "positions", _array(positions) + _array(segments)[0]  # a lone sentence is segment 0
    yield from _norm("", backbone.get_layer("embeddings_layer_norm"))
    for number, layer in enumerate(backbone.transformer_layers):
        name = f"layer_{number}_"
        yield from _attention(name, layer._self_attention_layer)
        yield from _norm(name + "first_", layer._self_attention_layer_norm)
        yield from _dense(name + "wide", layer._feedforward_intermediate_dense)
        yield from _dense(name + "narrow", layer._feedforward_output_dense)
        yield from _norm(name + "second_", layer._feedforward_layer_norm)


def _universal(encoder: keras.Model) -> Iterator[tuple[str, np.ndarray]]:
    table = encoder.get_layer("table")
    for name in ("table", "scale", "least"):
        yield name, _array(getattr(table, name))
    changed = table.changes is not None
    yield "places", _array(table.places) if changed else np.zeros(table.rows, np.int32)
    yield "changes", _array(table.changes) if changed else np.zeros((0, table.dimensions), "f4")
    project, total = encoder.get_layer("project"), encoder.get_layer("sum")
    for name, layer in (("project", project), ("sum", total)):
        yield f"{name}_kernel", _array(layer.kernel)
        yield f"{name}_bias", _array(layer.bias)
    yield from _norm("project_norm_", encoder.get_layer("project_norm"))
    yield from _norm("sum_", total)
    for order in NGRAMS:
        for number in (1, 2):
            ngrams = encoder.get_layer(f"ngrams_{order}_{number}")
            yield (
                f"{ngrams.name}_kernel",
                _array(ngrams.kernel).reshape(-1, ngrams.kernel.shape[-1]),
            )
            yield f"{ngrams.name}_bias", _array(ngrams.bias)
    for name in RESIDUAL:
        yield f"{name}_kernel", _array(encoder.get_layer(name).kernel)


def _norm(name: str, layer: keras.layers.Layer) -> Iterator[tuple[str, np.ndarray]]:
    yield name + "scale", _array(layer.gamma)
    yield name + "offset", _array(layer.beta)


def _array(variable: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(variable)
