"""BERT, DistilBERT and XLM-RoBERTa from a folder of the Hugging Face hub, by keras-hub."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from model.network.dropout import drop_by_step
from model.network.pooling import pool
from model.recipe import parts
from model.recipe.paths import resolve_path
from model.recipe.presets import read_preset
from model.recipe.recipe import Recipe
from transforms.errors import UserError, kind_and_line

WEIGHTS = "model.safetensors"
# SentencePiece's <unk>, <s> and </s> are 0, 1 and 2, in our ids one more; fairseq, which
# XLM-RoBERTa comes from, begins with <s>, <pad>, </s> and <unk>. All other pieces have the same id
# in both.
_FAIRSEQ = (1, 3, 0, 2)


def pretrained(recipe: Recipe, *, vocabulary_size: int, vectors: np.ndarray | None) -> keras.Model:
    """The encoder: ids, int32 [b, t] with 0 as padding on the right → vectors, float32 [b, d].

    Args:
        recipe: its encoder says where the weights lie, and how tokens are pooled.
        vocabulary_size: ids in use, padding included; the weights must have a row for each.
        vectors: not used: the weights bring their own.

    Raises:
        UserError: the folder holds no such model, or fewer ids than the tokeniser gives.
    """
    spec = recipe.encoder
    assert isinstance(spec, parts.Bert)
    folder = Path(resolve_path(spec.preset))
    backbone = read_backbone(folder)
    if backbone.vocabulary_size < vocabulary_size:
        raise UserError(
            f"encoder.preset: {folder} has vectors of {backbone.vocabulary_size} ids, and its "
            f"tokeniser gives {vocabulary_size}; take all files of one model"
        )
    backbone.trainable = spec.trainable
    drop_by_step(backbone)
    ids = keras.Input((None,), dtype="int32", name="ids")
    # No sentence has more tokens: what is cut off is padding.
    cut = ids[:, : min(recipe.text.max_tokens, backbone.max_sequence_length)]
    keep = ops.not_equal(cut, 0)
    known = fairseq_ids(cut) if recipe.text.tokenizer == "sentencepiece" else cut
    tokens = _tokens(backbone, known, keep)
    encoded = tokens[:, 0] if spec.pooling == "cls" else pool(spec.pooling or "mean", tokens, keep)
    if spec.normalize:
        encoded = keras.layers.UnitNormalization(name="unit", dtype="float32")(encoded)
    # What follows computes in float32, whatever the layers do.
    exact = encoded if encoded.dtype == "float32" else ops.cast(encoded, "float32")
    return keras.Model(ids, exact, name="encoder")


def fairseq_ids(ids: Any) -> Any:
    """Ids of SentencePiece plus one, 0 as padding → ids of XLM-RoBERTa, int32 of the same shape."""
    first = ops.take(ops.convert_to_tensor(_FAIRSEQ, "int32"), ops.minimum(ids, len(_FAIRSEQ) - 1))
    return ops.where(ids < len(_FAIRSEQ), first, ids)


def _tokens(backbone: Any, ids: Any, keep: Any) -> Any:
    """Vectors of the tokens, [b, t, d]."""
    inputs = {"token_ids": ids, "padding_mask": ops.cast(keep, "int32")}
    if "segment_ids" not in backbone.input:
        return backbone(inputs)
    # A twin reads one sentence at a time.
    return backbone({**inputs, "segment_ids": ops.zeros_like(ids)})["sequence_output"]


def read_backbone(folder: Path) -> Any:
    """The network with its weights.

    Raises:
        UserError: it is not there, or keras-hub cannot read it.
    """
    try:
        import keras_hub
    except ImportError:
        raise UserError(
            "encoder bert needs the package keras-hub; install it with pip install 'twinbeam[bert]'"
        ) from None
    if not (folder / "config.json").is_file():
        raise UserError(
            f"encoder.preset {str(folder)!r} holds no config.json; expected the folder of a BERT, "
            f"DistilBERT or XLM-RoBERTa with config.json, {WEIGHTS} and its tokeniser's file"
        )
    preset = read_preset(folder)
    if preset is None:  # one of keras-hub's own
        return keras_hub.models.Backbone.from_preset(str(folder))
    if not (folder / WEIGHTS).is_file() and not (folder / f"{WEIGHTS}.index.json").is_file():
        raise UserError(
            f"encoder.preset: {folder} holds no {WEIGHTS}; save the model again with "
            "save_pretrained(folder) of a recent transformers"
        )
    try:
        with _as_keras_hub_reads(folder, preset.family) as readable:
            backbone = keras_hub.models.Backbone.from_preset(str(readable))
    except Exception as error:  # whatever a foreign file makes of it
        raise UserError(
            f"encoder.preset: {folder} cannot be read ({kind_and_line(error)})"
        ) from None
    _set_epsilon(backbone, folder)
    return backbone


def _set_epsilon(backbone: Any, folder: Path) -> None:
    """The layer norms' own ε: keras-hub has that of the first models of each kind."""
    config = json.loads((folder / "config.json").read_bytes())
    if (epsilon := config.get("layer_norm_eps")) is None:
        return
    for layer in backbone._flatten_layers():
        if isinstance(layer, keras.layers.LayerNormalization):
            layer.epsilon = epsilon


@contextmanager
def _as_keras_hub_reads(folder: Path, family: str) -> Iterator[Path]:
    """The folder, or a copy whose weights have the names that keras-hub looks for.

    It wants DistilBERT's with the name of the whole model before them, which sentence-transformers
    leaves out; and BERT's pooler, of which we read nothing, and which some were saved without.
    """
    path = folder / WEIGHTS
    if not path.is_file() or family not in ("bert", "distilbert"):
        yield folder
        return
    from safetensors import safe_open
    from safetensors.numpy import save_file

    with safe_open(path, framework="np") as file:
        names = set(file.keys())
        head = "distilbert."
        bare = family == "distilbert" and not any(name.startswith(head) for name in names)
        headless = family == "bert" and not any(n.endswith("pooler.dense.weight") for n in names)
        if not bare and not headless:
            yield folder
            return
        weights = {head * bare + name: file.get_tensor(name) for name in names}
    if headless:
        prefix = next((n for n in names if n.endswith("embeddings.LayerNorm.bias")), "")
        prefix = prefix.removesuffix("embeddings.LayerNorm.bias")
        size = weights[f"{prefix}embeddings.LayerNorm.bias"].shape[0]
        weights[f"{prefix}pooler.dense.weight"] = np.zeros((size, size), np.float32)
        weights[f"{prefix}pooler.dense.bias"] = np.zeros(size, np.float32)
    with tempfile.TemporaryDirectory(prefix="twinbeam-weights-") as copy:
        shutil.copy(folder / "config.json", copy)
        save_file(weights, Path(copy) / WEIGHTS)
        yield Path(copy)
