"""Losses: pure functions from labels and outputs to the loss of each example, [b]."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from model.network.comparisons import DISTANCES
from model.network.triplets import given_triplets, mined_triplets
from model.recipe import parts
from model.recipe.recipe import Recipe

Loss = Callable[..., Any]
_LEAST_DISTANCE = 1e-7  # where a similarity of 1 meets the label 0: the loss is at most 16.1


def make_loss(recipe: Recipe) -> Loss:
    """The recipe's loss: (labels [b], output of the network, weights [b] or None) → [b].

    Losses are weighted but not averaged: who calls it knows how large the whole batch is.
    """
    loss = _unweighted(recipe)

    def weighted(labels: Any, output: Any, weights: Any = None) -> Any:
        losses = loss(ops.cast(labels, "float32"), ops.cast(output, "float32"), weights)
        return losses if weights is None else losses * weights

    return weighted


def _unweighted(recipe: Recipe) -> Callable[[Any, Any, Any], Any]:
    spec, kind = recipe.loss, recipe.comparison.kind
    low, high = recipe.label_range
    scaled = lambda labels: (labels - low) / (high - low)  # noqa: E731
    if isinstance(spec, parts.CosineMse):
        width = spec.high - spec.low
        return lambda y, cos, _: ops.square(spec.low + width * scaled(y) - cos)
    if isinstance(spec, parts.Contrastive):
        return lambda y, pairs, _: contrastive(
            y, DISTANCES[kind](*split_pairs(pairs)[:2]), margin=spec.margin
        )
    if isinstance(spec, parts.Triplet) and spec.mining == "given":
        return lambda y, pairs, _: given_triplets(
            DISTANCES[kind](*split_pairs(pairs)[:2]), margin=spec.margin
        )
    if isinstance(spec, parts.Triplet):
        return lambda y, pairs, weights: mined_triplets(
            y, *split_pairs(pairs), weights, kind=kind, mining=spec.mining, margin=spec.margin
        )
    if spec.kind == "softmax_crossentropy":
        return lambda y, logits, _: softmax_crossentropy(y, logits)
    learned = isinstance(recipe.comparison, parts.Head)
    if spec.kind == "mse":
        unit = ops.sigmoid if learned else ops.exp
        return lambda y, output, _: ops.square(scaled(y) - unit(output))
    crossentropy = logit_crossentropy if learned else log_similarity_crossentropy
    return lambda y, output, _: crossentropy(y, output)


def split_pairs(pairs: Any) -> tuple[Any, Any, Any]:
    """[b, 2, d + 1] → vectors of both sides [b, d] each, and fingerprints [b, 2]."""
    return pairs[:, 0, :-1], pairs[:, 1, :-1], pairs[:, :, -1]


def logit_crossentropy(labels: Any, logits: Any) -> Any:
    """Binary cross-entropy of sigmoid(logit): labels [b] in 0…1, logits [b] → [b]."""
    return ops.relu(logits) - logits * labels + ops.log1p(ops.exp(-ops.abs(logits)))


def log_similarity_crossentropy(labels: Any, log_similarity: Any) -> Any:
    """Binary cross-entropy of p = exp(x): labels [b], x [b] ≤ 0 → [b].

    log p is x itself, so the loss keeps its gradient however far apart a similar pair lies, where
    the cross-entropy of p would be cut off.
    """
    x = ops.minimum(log_similarity, -_LEAST_DISTANCE)
    return -labels * x - (1 - labels) * ops.log(-ops.expm1(x))


def softmax_crossentropy(labels: Any, logits: Any) -> Any:
    """Cross-entropy over classes: class indices [b], logits [b, classes] → [b]."""
    return keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)


def contrastive(labels: Any, distances: Any, *, margin: float) -> Any:
    """Y d² + (1 − y) max(0, margin − d)²: labels [b], distances [b] → [b].

    Hadsell, Chopra and LeCun 2006, without the halves.
    """
    apart = ops.square(ops.relu(margin - distances))
    return labels * ops.square(distances) + (1 - labels) * apart
