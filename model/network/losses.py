"""Losses: pure functions from labels and outputs to the loss of each example, [b].

`model.recipe.kinds` names for each kind the function `make_…`, which takes the recipe and gives a
function (labels [b], output of the network, weights [b] or None) → [b].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from model.network.comparisons import distance
from model.network.triplets import given_triplets, mined_triplets
from model.recipe import parts
from model.recipe.kinds import resolve
from model.recipe.recipe import Recipe

Loss = Callable[..., Any]
_LEAST_DISTANCE = 1e-7  # where a similarity of 1 meets the label 0: the loss is at most 16.1


def make_loss(recipe: Recipe) -> Loss:
    """The recipe's loss: (labels [b], output of the network, weights [b] or None) → [b].

    Losses are weighted but not averaged: who calls it knows how large the whole batch is.
    """
    loss = resolve(recipe.loss_kind.make)(recipe)

    def weighted(labels: Any, output: Any, weights: Any = None) -> Any:
        losses = loss(ops.cast(labels, "float32"), ops.cast(output, "float32"), weights)
        return losses if weights is None else losses * weights

    return weighted


def make_binary_crossentropy(recipe: Recipe) -> Loss:
    """Cross-entropy of two classes, on a logit or on the log of a similarity."""
    learned = recipe.comparison_kind.output == "logit"
    crossentropy = logit_crossentropy if learned else log_similarity_crossentropy
    return lambda labels, output, _: crossentropy(labels, output)


def make_softmax_crossentropy(recipe: Recipe) -> Loss:
    """Cross-entropy of several classes."""
    return lambda labels, logits, _: softmax_crossentropy(labels, logits)


def make_mse(recipe: Recipe) -> Loss:
    """Squared error of the similarity, labels and similarity on the scale 0…1."""
    unit = ops.sigmoid if recipe.comparison_kind.output == "logit" else ops.exp
    return lambda labels, output, _: ops.square(_scaled(recipe, labels) - unit(output))


def make_cosine_mse(recipe: Recipe) -> Loss:
    """Squared error of the cosine, labels on the scale `low`…`high`."""
    spec = recipe.loss
    assert isinstance(spec, parts.CosineMse)
    low, width = spec.low, spec.high - spec.low
    return lambda labels, cos, _: ops.square(low + width * _scaled(recipe, labels) - cos)


def make_contrastive(recipe: Recipe) -> Loss:
    """`contrastive` over the distance of the recipe's comparison."""
    spec, kind = recipe.loss, recipe.comparison.kind
    assert isinstance(spec, parts.Contrastive)
    return lambda labels, pairs, _: contrastive(
        labels, distance(kind, *split_pairs(pairs)[:2]), margin=spec.margin
    )


def make_triplet(recipe: Recipe) -> Loss:
    """The triplet loss over triplets given, or mined."""
    spec, kind = recipe.loss, recipe.comparison.kind
    assert isinstance(spec, parts.Triplet)
    if spec.mining == "given":
        return lambda labels, pairs, _: given_triplets(
            distance(kind, *split_pairs(pairs)[:2]), margin=spec.margin
        )
    return lambda labels, pairs, weights: mined_triplets(
        labels, *split_pairs(pairs), weights, kind=kind, mining=spec.mining, margin=spec.margin
    )


def _scaled(recipe: Recipe, labels: Any) -> Any:
    low, high = recipe.label_range
    return (labels - low) / (high - low)


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
