"""The kinds of encoders, comparisons and losses: one row each, and all else follows. No TensorFlow.

A row says what a recipe may write (`part`), what the kind fits with, and which function makes it.
Functions are named as `module:function`, so that reading a recipe loads no network. To add a kind,
add its row here and write its function; `tests/model/recipe/test_kinds.py` adds one of each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from pydantic_core import PydanticCustomError

from model.recipe import parts
from transforms.errors import UserError

_ENCODERS, _COMPARISONS = "model.network.encoders", "model.network.comparisons"
_LOSSES, _BATCH_LOSSES = "model.network.losses", "model.network.batch_losses"

Task = Literal["binary", "regression", "classes"]
# What a comparison's output is: minus a distance, which is the log of the similarity exp(−d);
# a cosine; or the logits of a dense head.
Output = Literal["log_similarity", "cosine", "logit"]


@dataclass(frozen=True, kw_only=True)
class EncoderKind:
    """An encoder: sentences' ids, or sentences as they are, to vectors.

    Attributes:
        part: what a recipe may say of it.
        build: (recipe, vocabulary_size=…, vectors=…) → a Keras model, see `encoders`.
        tokenizers: the values of `text.tokenizer` that it can read; `none` is raw text.
        embeds: whether it learns a vector for each id, so that a recipe needs `embedding`.
        recurrent: whether it is a stack of LSTMs under a pooling, as `packed_lstm` trains, as
            `pretraining` prepares and as `folded_lstm` serves it.
        compiles: whether XLA can compile its training step.
        pretrained: whether it comes with weights of use before any training.
        trains_used_ids: whether of its own table only the ids in the training part are trained;
            `build` takes them as `trained_ids` in the place of `vectors`.
        bits_kept_by: poolings under which padding never changes a vector's bits.
    """

    part: type[parts.Kinded]
    build: str
    tokenizers: tuple[str, ...] = ("char", "word")
    embeds: bool = True
    recurrent: bool = False
    compiles: bool = True
    pretrained: bool = False
    trains_used_ids: bool = False
    bits_kept_by: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ComparisonKind:
    """A comparison of two vectors.

    Attributes:
        part: what a recipe may say of it; a dense head follows where it is a `parts.Head`.
        compute: vectors (u […, d], v […, d]) → the output […], or what a dense head sees.
        symmetric: whether (u, v) and (v, u) come out the same. Without a default: it must be known.
        output: what its output means.
        distance: vectors (u […, d], v […, d]) → distances […], for losses on vectors.
        splits: whether its features never join u and v, so that without a hidden layer the output
            is f(u) + g(v).
    """

    part: type[parts.Kinded]
    compute: str
    symmetric: bool
    output: Output
    distance: str | None = None
    splits: bool = False


@dataclass(frozen=True, kw_only=True)
class LossKind:
    """A loss.

    Attributes:
        part: what a recipe may say of it.
        make: recipe → a function (labels, output, weights) → losses, see `losses`.
        tasks: what it can learn.
        reads: outputs of comparisons that it can judge.
        on_vectors: whether it reads both vectors, and not the comparison's output.
        across: whether a pair's loss depends on the other pairs of its batch, so that replicas
            must show each other theirs.
        positives_suffice: whether it learns from similar pairs alone.
    """

    part: type[parts.Kinded]
    make: str
    tasks: tuple[Task, ...]
    reads: tuple[Output, ...]
    on_vectors: bool = False
    across: bool = False
    positives_suffice: bool = False


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
        build=f"{_ENCODERS}:bert",
        tokenizers=("wordpiece",),
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
    ),
    "saved_model": EncoderKind(
        part=parts.SavedModel,
        build=f"{_ENCODERS}:saved_model",
        tokenizers=("none",),
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
    ),
    "l1": _head("l1", symmetric=True),
    "absdiff_product": _head("absdiff_product", symmetric=True),
    "concat": _head("concat", symmetric=False, splits=True),
    "concat_absdiff": _head("concat_absdiff", symmetric=False),
}

LOSSES: dict[str, LossKind] = {
    "binary_crossentropy": LossKind(
        part=parts.PlainLoss,
        make=f"{_LOSSES}:make_binary_crossentropy",
        tasks=("binary",),
        reads=("log_similarity", "logit"),
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
_PLACES = {EncoderKind: "encoder", ComparisonKind: "comparison", LossKind: "loss"}
GROUP = "twinbeam.kinds"


def add_installed(points: Iterable[EntryPoint] | None = None) -> None:
    """Adds the kinds of installed packages: entry points of the group `twinbeam.kinds`.

    Each names a row, an `EncoderKind`, `ComparisonKind` or `LossKind`, and is named as recipes
    shall name it. So a recipe's text never says what is imported: only what is installed is.

    Raises:
        UserError: names the entry point that cannot be loaded, is no row, or takes another's name.
    """
    for point in entry_points(group=GROUP) if points is None else points:
        try:
            row = point.load()
        except Exception as error:
            raise UserError(
                f"entry point {point.name!r} of {GROUP} ({point.value}) cannot be loaded: "
                f"{type(error).__name__}: {error}"
            ) from None
        place = next((place for kind, place in _PLACES.items() if isinstance(row, kind)), None)
        if place is None:
            raise UserError(
                f"entry point {point.name!r} of {GROUP} ({point.value}) is a {type(row).__name__}; "
                "expected an EncoderKind, a ComparisonKind or a LossKind of model.recipe.kinds"
            )
        if KINDS[place].setdefault(point.name, row) is not row:
            raise UserError(
                f"entry point {point.name!r} of {GROUP} ({point.value}) names a {place} that is "
                "there already; it needs another name"
            )


def comparisons_read_by(loss: str) -> list[str]:
    """The kinds of comparisons that a kind of loss can judge."""
    reads = LOSSES[loss].reads
    return [kind for kind, row in COMPARISONS.items() if row.output in reads]


@cache  # TensorFlow takes it as it is, where it would trace an import otherwise
def resolve(name: str) -> Any:
    """The function that `module:function` names."""
    module, _, function = name.partition(":")
    return getattr(import_module(module), function)


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
    if value["kind"] not in KINDS[place]:
        allowed = ", ".join(map(repr, KINDS[place]))
        raise PydanticCustomError("unknown_kind", "{allowed}", {"allowed": allowed})
    return KINDS[place][value["kind"]].part.model_validate(value)
