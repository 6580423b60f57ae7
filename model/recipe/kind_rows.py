"""What the table of kinds says of an encoder, a comparison and a loss. No TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, Literal

from model.recipe import parts

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
        encodes_once: whether a step encodes equal sentences once, as `network.forward` does; what
            dropout drops then hangs on the sentence, and not on its row.
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
    encodes_once: bool = False
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
        pairwise: vectors [n, d] → distances of all to all [n, n], for mining in a batch; without
            one `distance` is taken row by row.
        splits: whether its features never join u and v, so that without a hidden layer the output
            is f(u) + g(v).
        imported: whether it only occurs in bundles that `twinbeam import` made.
    """

    part: type[parts.Kinded]
    compute: str
    symmetric: bool
    output: Output
    distance: str | None = None
    pairwise: str | None = None
    splits: bool = False
    imported: bool = False


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
        probabilities: whether it is least where the similarity is the probability of label 1.
    """

    part: type[parts.Kinded]
    make: str
    tasks: tuple[Task, ...]
    reads: tuple[Output, ...]
    on_vectors: bool = False
    across: bool = False
    positives_suffice: bool = False
    probabilities: bool = False


@cache  # TensorFlow takes it as it is, where it would trace an import otherwise
def resolve(name: str) -> Any:
    """The function that `module:function` names."""
    module, _, function = name.partition(":")
    return getattr(import_module(module), function)
