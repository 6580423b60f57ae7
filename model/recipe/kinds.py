"""The kinds of encoders, comparisons and losses: one row each, and all else follows. No TensorFlow.

A row says what a recipe may write (`part`), what the kind fits with, and which function makes it;
`kind_rows` has what there is to say.
Functions are named as `module:function`, so that reading a recipe loads no network. To add a kind,
add its row here and write its function; `tests/model/recipe/test_kinds.py` adds one of each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic_core import PydanticCustomError

from model.recipe import parts
from model.recipe.kind_rows import ComparisonKind, EncoderKind, LossKind

_ENCODERS, _COMPARISONS = "model.network.encoders", "model.network.comparisons"
_LOSSES, _BATCH_LOSSES = "model.network.losses", "model.network.batch_losses"
_TRIPLETS = "model.network.triplets"


ENCODERS: dict[str, EncoderKind] = {
    "bilstm": EncoderKind(
        part=parts.BiLstm,
        build=f"{_ENCODERS}:bilstm",
        recurrent=True,
        compiles=False,
        bits_kept_by=("last", "max", "mean", "mean_max"),
    ),
    "cnn": EncoderKind(part=parts.Cnn, build=f"{_ENCODERS}:cnn", bits_kept_by=("max",)),
    "transformer": EncoderKind(part=parts.Transformer, build=f"{_ENCODERS}:transformer"),
    "bert": EncoderKind(
        part=parts.Bert,
        build="model.network.pretrained:pretrained",
        tokenizers=("wordpiece", "sentencepiece"),
        embeds=False,
        pretrained=True,
    ),
    "universal": EncoderKind(
        part=parts.Universal,
        build="model.network.universal:universal",
        tokenizers=("sentencepiece",),
        embeds=False,
        pretrained=True,
        trains_used_ids=True,
        encodes_once=True,
    ),
    "saved_model": EncoderKind(
        part=parts.SavedModel,
        build=f"{_ENCODERS}:saved_model",
        tokenizers=("none",),
        embeds=False,
        compiles=False,
        pretrained=True,
    ),
    "imported": EncoderKind(
        part=parts.Imported,
        build="model.bundle.imported:refuse",
        tokenizers=("char", "word", "none"),
        embeds=False,
        compiles=False,
        pretrained=True,
    ),
}


def _distance(name: str) -> ComparisonKind:
    return ComparisonKind(
        part=parts.Distance,
        compute=f"{_COMPARISONS}:minus_{name}",
        symmetric=True,
        output="log_similarity",
        distance=f"{_COMPARISONS}:{name}",
        pairwise=f"{_TRIPLETS}:pairwise_{name}",
    )


def _head(name: str, *, symmetric: bool, splits: bool = False) -> ComparisonKind:
    return ComparisonKind(
        part=parts.Head,
        compute=f"{_COMPARISONS}:{name}",
        symmetric=symmetric,
        output="logit",
        splits=splits,
    )


COMPARISONS: dict[str, ComparisonKind] = {
    "manhattan": _distance("manhattan"),
    "euclidean": _distance("euclidean"),
    "cosine": ComparisonKind(
        part=parts.Distance,
        compute=f"{_COMPARISONS}:cosine",
        symmetric=True,
        output="cosine",
        distance=f"{_COMPARISONS}:cosine_distance",
        pairwise=f"{_TRIPLETS}:pairwise_cosine",
    ),
    "l1": _head("l1", symmetric=True),
    "absdiff_product": _head("absdiff_product", symmetric=True),
    "concat": _head("concat", symmetric=False, splits=True),
    "concat_absdiff": _head("concat_absdiff", symmetric=False),
    "imported": ComparisonKind(
        part=parts.Imported,
        compute="model.bundle.imported:refuse",
        symmetric=False,
        output="log_similarity",
        imported=True,
    ),
}

LOSSES: dict[str, LossKind] = {
    "binary_crossentropy": LossKind(
        part=parts.PlainLoss,
        make=f"{_LOSSES}:make_binary_crossentropy",
        tasks=("binary",),
        reads=("log_similarity", "logit"),
        probabilities=True,
    ),
    "softmax_crossentropy": LossKind(
        part=parts.PlainLoss,
        make=f"{_LOSSES}:make_softmax_crossentropy",
        tasks=("classes",),
        reads=("logit",),
    ),
    "mse": LossKind(
        part=parts.PlainLoss,
        make=f"{_LOSSES}:make_mse",
        tasks=("binary", "regression"),
        reads=("log_similarity", "logit"),
        probabilities=True,
    ),
    "cosine_mse": LossKind(
        part=parts.CosineMse,
        make=f"{_LOSSES}:make_cosine_mse",
        tasks=("binary", "regression"),
        reads=("cosine",),
    ),
    "contrastive": LossKind(
        part=parts.Contrastive,
        make=f"{_LOSSES}:make_contrastive",
        tasks=("binary",),
        reads=("log_similarity", "cosine"),
        on_vectors=True,
    ),
    "triplet": LossKind(
        part=parts.Triplet,
        make=f"{_LOSSES}:make_triplet",
        tasks=("binary",),
        reads=("log_similarity", "cosine"),
        on_vectors=True,
        across=True,
    ),
    "online_contrastive": LossKind(
        part=parts.OnlineContrastive,
        make=f"{_BATCH_LOSSES}:make_online_contrastive",
        tasks=("binary",),
        reads=("log_similarity", "cosine"),
        on_vectors=True,
        across=True,
    ),
    "multiple_negatives": LossKind(
        part=parts.MultipleNegatives,
        make=f"{_BATCH_LOSSES}:make_multiple_negatives",
        tasks=("binary",),
        reads=("cosine",),
        on_vectors=True,
        across=True,
        positives_suffice=True,
    ),
    "cosent": LossKind(
        part=parts.Cosent,
        make=f"{_BATCH_LOSSES}:make_cosent",
        tasks=("binary", "regression"),
        reads=("cosine",),
        on_vectors=True,
        across=True,
    ),
    "angle": LossKind(
        part=parts.Angle,
        make=f"{_BATCH_LOSSES}:make_angle",
        tasks=("binary", "regression"),
        reads=("cosine",),
        on_vectors=True,
        across=True,
    ),
}

KINDS: dict[str, dict[str, Any]] = {
    "encoder": ENCODERS,
    "comparison": COMPARISONS,
    "loss": LOSSES,
}


def comparisons_read_by(loss: str) -> list[str]:
    """The kinds of comparisons that a kind of loss can judge."""
    reads = LOSSES[loss].reads
    return [kind for kind, row in COMPARISONS.items() if row.output in reads and not row.imported]


def read_part(place: str, value: Any) -> parts.Kinded:
    """The part of a recipe that plain values say, by the row of its kind.

    Raises:
        PydanticCustomError: there is no such kind.
        ValidationError: a key of the part is wrong.
    """
    if isinstance(value, parts.Kinded):
        return value
    if not isinstance(value, Mapping):
        raise PydanticCustomError("model_type", "expected keys and values")
    if "kind" not in value:
        raise PydanticCustomError("no_kind", "missing")
    if not isinstance(value["kind"], str) or value["kind"] not in KINDS[place]:
        allowed = ", ".join(map(repr, KINDS[place]))
        raise PydanticCustomError("unknown_kind", "{allowed}", {"allowed": allowed})
    return KINDS[place][value["kind"]].part.model_validate(value)
