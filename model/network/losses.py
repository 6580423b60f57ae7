"""Losses: pure functions from labels and outputs to the loss of each example, [b].

`model.recipe.kinds` names for each kind the function `make_…`, which takes the recipe and gives a
function (labels [b], output of the network, weights [b] or None) → [b].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from model.network.comparisons import distance
from model.network.triplets import LabelledVectors, given_triplets, mined_triplets
from model.recipe import parts
from model.recipe.kind_rows import resolve
from transforms.errors import UserError

if TYPE_CHECKING:
    from model.recipe.recipe import Recipe

Loss = Callable[..., Any]
_LEAST_DISTANCE = 1e-7  # where a similarity of 1 meets the label 0: the loss is at most 16.1


def make_loss(recipe: Recipe) -> Loss:
    """The recipe's loss: (labels [b], output of the network, weights [b] or None) → [b].

    Losses are weighted but not averaged: the caller knows how large the complete batch is. Losses
    on vectors read `u`, `v` and, if they look across the batch, the sentences' `fingerprints`.
    """
    loss = resolve(recipe.loss_kind.make)(recipe)
    sizes = recipe.loss.matryoshka if isinstance(recipe.loss, parts.VectorLoss) else ()
    loss = nested(loss, sizes) if sizes else loss

    by_class = recipe.labels.class_weights

    def weighted(labels: Any, output: Any, weights: Any = None) -> Any:
        # Half precision ends here: losses add up thousands of small numbers.
        exact = keras.tree.map_structure(lambda part: ops.cast(part, "float32"), output)
        losses = loss(ops.cast(labels, "float32"), exact, weights)
        if by_class:
            # Between two classes, for a teacher's score, by how far it is between them.
            places = ops.arange(len(by_class), dtype="float32")
            near = ops.relu(1 - ops.abs(ops.cast(labels, "float32")[:, None] - places[None, :]))
            losses = losses * ops.sum(near * ops.convert_to_tensor(by_class, "float32"), axis=1)
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
    return lambda labels, sides, _: contrastive(
        labels, distance(kind, sides["u"], sides["v"]), margin=spec.margin
    )


def make_triplet(recipe: Recipe) -> Loss:
    """The triplet loss over triplets given, or mined."""
    spec, kind = recipe.loss, recipe.comparison.kind
    assert isinstance(spec, parts.Triplet)
    if spec.mining == "given":
        return lambda labels, sides, _: given_triplets(
            distance(kind, sides["u"], sides["v"]), margin=spec.margin
        )
    return lambda labels, sides, weights: mined_triplets(
        LabelledVectors(**sides, labels=labels, weights=weights),
        kind=kind,
        mining=spec.mining,
        margin=spec.margin,
    )


def _scaled(recipe: Recipe, labels: Any) -> Any:
    low, high = recipe.label_range
    return (labels - low) / (high - low)


def nested(loss: Loss, sizes: tuple[int, ...]) -> Loss:
    """A loss on vectors as the mean over all their floats and over their first n, for each size.

    Matryoshka representation learning (Kusupati et al. 2022): the first floats of a vector can be
    used as a vector, slightly worse than all of them.
    """

    def over_all(labels: Any, sides: Any, weights: Any) -> Any:
        wide = sides["u"].shape[-1]
        if max(sizes) > wide:
            raise UserError(f"loss.matryoshka: vectors have {wide} floats; received {max(sizes)}")
        # All floats are one of the sizes, or nothing would train those behind the last cut. The
        # cuts share one encoding: a size costs a comparison, and no pass through the encoder.
        numbers = sorted({*sizes, wide})
        cut = [{**sides, "u": sides["u"][:, :n], "v": sides["v"][:, :n]} for n in numbers]
        return sum(loss(labels, each, weights) for each in cut) / len(numbers)

    return over_all


def logit_crossentropy(labels: Any, logits: Any) -> Any:
    """Binary cross-entropy of sigmoid(logit): labels [b] in 0…1, logits [b] → [b]."""
    # max(x, 0) − x y + log(1 + e^−|x|): no exponential can overflow.
    return ops.relu(logits) - logits * labels + ops.log1p(ops.exp(-ops.abs(logits)))


def log_similarity_crossentropy(labels: Any, log_similarity: Any) -> Any:
    """Binary cross-entropy of p = exp(x): labels [b], x [b] ≤ 0 → [b].

    log p is x itself, so the loss keeps its gradient however far apart a similar pair is, where
    the cross-entropy of p would be cut off.
    """
    x = ops.minimum(log_similarity, -_LEAST_DISTANCE)
    # log(1 − eˣ) by expm1: for x near 0, 1 − eˣ would have lost all its digits.
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
