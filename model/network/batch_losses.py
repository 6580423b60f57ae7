"""Losses that look from each pair of a batch to the others: ranking, and in-batch negatives.

As everywhere, the loss of each pair, [b], unweighted. Pairs of weight 0 are padding, where a
replica has none: they are no sentence's negative and in no comparison.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from keras import ops

from model.network.comparisons import cosine, distance
from model.network.triplets import LabelledVectors, know_batch
from model.recipe import parts
from transforms.errors import UserError

if TYPE_CHECKING:
    from model.recipe.recipe import Recipe

Loss = Callable[..., Any]
_NEVER = -1e9  # a logit of what must not count: its exponential is 0 in float32


def make_multiple_negatives(recipe: Recipe) -> Loss:
    """`multiple_negatives` of the recipe's temperature."""
    spec = recipe.loss
    assert isinstance(spec, parts.MultipleNegatives)
    return lambda labels, sides, weights: multiple_negatives(
        LabelledVectors(**sides, labels=labels, weights=weights), temperature=spec.temperature
    )


def make_cosent(recipe: Recipe) -> Loss:
    """`ranking` of the cosines."""
    spec = recipe.loss
    assert isinstance(spec, parts.Cosent)
    return lambda labels, sides, weights: ranking(
        cosine(sides["u"], sides["v"]), labels, weights, scale=spec.scale
    )


def make_angle(recipe: Recipe) -> Loss:
    """`ranking` of the angles, and by its weight that of the cosines."""
    spec = recipe.loss
    assert isinstance(spec, parts.Angle)

    def loss(labels: Any, sides: Any, weights: Any) -> Any:
        u, v = sides["u"], sides["v"]
        losses = ranking(angle(u, v), labels, weights, scale=spec.scale)
        if not spec.cosine_weight:
            return losses
        cosines = ranking(cosine(u, v), labels, weights, scale=spec.scale)
        return losses + spec.cosine_weight * cosines

    return loss


def make_online_contrastive(recipe: Recipe) -> Loss:
    """`online_contrastive` over the distance of the recipe's comparison."""
    spec, kind = recipe.loss, recipe.comparison.kind
    assert isinstance(spec, parts.OnlineContrastive)
    return lambda labels, sides, weights: online_contrastive(
        distance(kind, sides["u"], sides["v"]), labels, weights, margin=spec.margin
    )


def multiple_negatives(pairs: LabelledVectors, *, temperature: float) -> Any:
    """−log softmax of the own partner among the other sides of the batch, both ways: [b].

    The logits are cosines by the temperature (Henderson et al. 2017, with cosines as in van den
    Oord et al. 2018). Pairs labelled 0 have no loss of their own, but lend their sentences.

    A sentence is no negative where the batch knows, or where follows from it, that it says the
    same: see `know_batch`. Without that, frequent questions would be pushed away from themselves.
    """
    size = ops.shape(pairs.u)[0]
    # [2b, 2b] over all sentences, first sides before second ones; the quarters that join the
    # first with the second sides are the two softmaxes' candidates.
    _, negative = know_batch(pairs)
    logits = ops.matmul(_unit(pairs.u), ops.transpose(_unit(pairs.v))) / temperature
    own = ops.cast(ops.eye(size), "bool")
    forth = _own_among(logits, own, ops.logical_or(own, negative[:size, size:]))
    back = _own_among(ops.transpose(logits), own, ops.logical_or(own, negative[size:, :size]))
    return ops.cast(pairs.labels > 0.5, "float32") * (forth + back) / 2


def _own_among(logits: Any, own: Any, candidates: Any) -> Any:
    """−log softmax of each row's own place among its candidates: [b, b] each → [b]."""
    chosen = ops.sum(ops.where(own, logits, 0.0), axis=1)
    return ops.logsumexp(ops.where(candidates, logits, _NEVER), axis=1) - chosen


def _unit(vectors: Any) -> Any:
    """Vectors [n, d] → of length 1; a zero vector stays, and has no gradient."""
    squares = ops.sum(ops.square(vectors), axis=1, keepdims=True)
    long = squares > 1e-24
    return ops.where(long, vectors / ops.sqrt(ops.where(long, squares, 1.0)), 0.0)


def ranking(similarity: Any, labels: Any, weights: Any = None, *, scale: float) -> Any:
    """log(1 + Σ exp(scale · (s_j − s_i))) over all i, j with label i above label j: [b].

    CoSENT (Su 2022, kexue.fm/archives/8847). It asks for the order alone, so labels may be numbers
    or classes, and no cosine has to reach 0 or 1. The batch has one loss: each pair bears it, so
    that their mean is the batch's.
    """
    real = ops.ones_like(similarity) if weights is None else weights
    real = real > 0
    # Row i, column j: the pair i should be more similar than the pair j.
    above = labels[:, None] > labels[None, :]
    counts = ops.logical_and(above, ops.logical_and(real[:, None], real[None, :]))
    differences = scale * (similarity[None, :] - similarity[:, None])
    flat = ops.reshape(ops.where(counts, differences, _NEVER), (-1,))
    loss = ops.logsumexp(ops.concatenate([ops.zeros((1,), flat.dtype), flat]), axis=0)
    return loss * ops.ones_like(similarity)


def angle(u: Any, v: Any) -> Any:
    """The similarity of AnglE (Li and Li 2024): vectors [b, d], d even → [b].

    The halves of a vector are the real and the imaginary parts of complex numbers. Their quotient
    u / v, with lengths taken out, is added up over real and imaginary parts. Where a cosine is flat
    near 0° and 180°, this is not. It is a training objective: (u, v) and (v, u) differ.
    """
    size = u.shape[-1]
    if size % 2:
        raise UserError(f"loss angle needs vectors of an even length; the encoder's have {size}")
    real_u, imaginary_u = ops.split(u, 2, axis=1)
    real_v, imaginary_v = ops.split(v, 2, axis=1)
    real = real_u * real_v + imaginary_u * imaginary_v
    imaginary = imaginary_u * real_v - real_u * imaginary_v
    norms = ops.sum(ops.square(u), axis=1) * ops.sum(ops.square(v), axis=1)
    long = norms > 1e-24
    total = ops.sum(real + imaginary, axis=1)
    return ops.where(long, ops.abs(total) / ops.sqrt(ops.where(long, norms, 1.0)), 0.0)


def online_contrastive(distances: Any, labels: Any, weights: Any = None, *, margin: float) -> Any:
    """The contrastive loss of the hard pairs of a batch, and 0 for the others: [b].

    Hard are similar pairs farther apart than the nearest pair of the others, and others nearer than
    the farthest similar pair (`OnlineContrastiveLoss` of sentence-transformers, after Hadsell,
    Chopra and LeCun 2006). Where a batch has one label only, all are hard.
    """
    real = ops.ones_like(distances) if weights is None else weights
    similar = ops.logical_and(labels > 0.5, real > 0)
    other = ops.logical_and(labels <= 0.5, real > 0)
    # Infinities where a label is not there: then every pair of the other one is hard.
    nearest = ops.min(ops.where(other, distances, math.inf))
    farthest = ops.max(ops.where(similar, distances, -math.inf))
    pulled = ops.logical_and(
        similar, ops.logical_or(distances > nearest, ops.logical_not(ops.any(other)))
    )
    pushed = ops.logical_and(
        other, ops.logical_or(distances < farthest, ops.logical_not(ops.any(similar)))
    )
    pushed_by = ops.square(ops.relu(margin - distances))
    return ops.where(pulled, ops.square(distances), 0.0) + ops.where(pushed, pushed_by, 0.0)
