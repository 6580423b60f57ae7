"""The triplet loss, and where its triplets come from: given, or mined from a batch of pairs.

A pair labelled 1 is an anchor and its positive, and the other way round. A sentence is in
many pairs, so who is a negative needs care: sentences that a batch connects by pairs labelled 1,
or by being the same sentence, are one group. Sentences of different groups are taken for
negatives, and the two of a pair labelled 0 are, even within a group. Alike sentences that no pair
of the batch connects may so pass for negatives: the price of mining from pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from keras import ops

from model.network.comparisons import distance
from model.recipe.kind_rows import resolve
from model.recipe.kinds import COMPARISONS

_FAR = 1e9


def triplets(to_positive: Any, to_negative: Any, *, margin: float) -> Any:
    """max(0, d(anchor, positive) − d(anchor, negative) + margin): distances [n], [n] → [n].

    Schroff, Kalenichenko and Philbin 2015, with the distances that the caller chooses.
    """
    return ops.relu(to_positive - to_negative + margin)


def given_triplets(distances: Any, *, margin: float) -> Any:
    """The triplet loss of a batch of triplets: distances [2 b] → [2 b].

    The first half are those of the anchors to their positives, the second half of the same anchors
    to their negatives. A triplet's loss is in the first half; the second half is zero.
    """
    to_positive, to_negative = ops.split(distances, 2)
    losses = triplets(to_positive, to_negative, margin=margin)
    return ops.concatenate([losses, ops.zeros_like(losses)])


@dataclass(frozen=True)
class LabelledVectors:
    """A batch of pairs, for losses that look from one pair to the others.

    Attributes:
        u: vectors of one side, [b, d].
        v: vectors of the other, [b, d].
        fingerprints: equal for equal sentences, [b, 2].
        labels: 1 for similar pairs, [b].
        weights: pairs of weight 0 are not there, [b].
    """

    u: Any
    v: Any
    fingerprints: Any
    labels: Any
    weights: Any = None


def mined_triplets(pairs: LabelledVectors, *, kind: str, mining: str, margin: float) -> Any:
    """The triplet loss of a batch of pairs, each pair labelled 1 as anchor and positive both ways.

    `semi_hard` (Schroff et al. 2015): the pair's own positive, and the nearest negative that is
    farther away than it; the farthest of all where there is none. `batch_hard` (Hermans, Beyer
    and Leibe 2017): the farthest of the anchor's group, and the nearest negative.

    Args:
        pairs: the whole batch, of all replicas.
        kind: name of the distance, see `comparisons.distance`.
        mining: `semi_hard` or `batch_hard`.
        margin: by which a positive must be nearer.

    Returns:
        Mean of both ways for pairs labelled 1, else 0, [b].
    """
    anchors = ops.concatenate([pairs.u, pairs.v])
    positive, negative = know_batch(pairs)
    # Choosing has no gradient, so the [2b, 2b] distances need none: backwards they would have to be
    # kept for every dimension.
    distances = pairwise(kind, ops.stop_gradient(anchors))
    own = ops.concatenate([pairs.v, pairs.u])
    if mining == "batch_hard":
        farthest = ops.argmax(ops.where(positive, distances, -_FAR), axis=1)
        # Where a row has no positive, argmax gives 0, some other sentence: such an anchor keeps the
        # other side of its own pair.
        alone = ops.logical_not(ops.any(positive, axis=1))[:, None]
        own = ops.where(alone, own, ops.take(anchors, farthest, axis=0))
        chosen = ops.argmin(ops.where(negative, distances, _FAR), axis=1)
    else:
        chosen = _semi_hard(distances, negative)
    # Again, for the chosen only: what the gradient goes through.
    to_negative = distance(kind, anchors, ops.take(anchors, chosen, axis=0))
    losses = triplets(distance(kind, anchors, own), to_negative, margin=margin)
    # Nor is there a negative in every row: of what argmin then gives nothing is to be learned.
    losses = ops.where(ops.any(negative, axis=1), losses, 0.0)
    return pairs.labels * ops.mean(ops.reshape(losses, (2, -1)), axis=0)


def _semi_hard(distances: Any, negative: Any) -> Any:
    """Distances and negatives of 2 b sentences, [2b, 2b] → the index of each one's negative."""
    pairs = ops.shape(distances)[0] // 2
    # Row i of the rolled identity has its 1 at i's partner: b places on, around the end.
    partner = ops.roll(ops.eye(2 * pairs, dtype=distances.dtype), pairs, axis=1)
    to_positive = ops.sum(distances * partner, axis=1, keepdims=True)
    farther = ops.logical_and(negative, distances > to_positive)
    nearest = ops.argmin(ops.where(farther, distances, _FAR), axis=1)
    farthest = ops.argmax(ops.where(negative, distances, -_FAR), axis=1)
    return ops.where(ops.any(farther, axis=1), nearest, farthest)


def pairwise(kind: str, x: Any) -> Any:
    """Distances of all to all: vectors [n, d] → [n, n], without ever holding n² d numbers.

    The kind's own function for it, where its row names one; else its distance, row by row.
    """
    row = COMPARISONS[kind]
    if row.pairwise is not None:
        return resolve(row.pairwise)(x)
    return ops.map(lambda one: distance(kind, one[None], x), x)


def pairwise_manhattan(x: Any) -> Any:
    """Manhattan distances of all to all, a dimension at a time: [n, d] → [n, n]."""
    columns = ops.transpose(x)

    def add(number: Any, total: Any) -> Any:
        column = columns[number]
        return total + ops.abs(column[:, None] - column[None, :])

    nothing = ops.zeros((ops.shape(x)[0], ops.shape(x)[0]), x.dtype)
    return ops.fori_loop(0, ops.shape(x)[1], add, nothing)


def pairwise_euclidean(x: Any) -> Any:
    """Euclidean distances of all to all, by |x|² + |y|² − 2 x·y: [n, d] → [n, n]."""
    squares, products = _squares_and_products(x)
    return ops.sqrt(ops.maximum(squares[:, None] + squares[None, :] - 2 * products, 1e-12))


def pairwise_cosine(x: Any) -> Any:
    """1 − cosine of all to all: [n, d] → [n, n]."""
    squares, products = _squares_and_products(x)
    norms = ops.sqrt(ops.maximum(squares, 1e-12))
    return 1 - products / (norms[:, None] * norms[None, :])


def _squares_and_products(x: Any) -> tuple[Any, Any]:
    return ops.sum(ops.square(x), axis=1), ops.matmul(x, ops.transpose(x))


def know_batch(pairs: LabelledVectors) -> tuple[Any, Any]:
    """What b pairs say of their 2 b sentences (first all of side 1, then all of side 2).

    Returns:
        Which two are different sentences of one group, and which are negatives of each other,
        bool [2b, 2b] each; see the module's text.
    """
    labels, marks = ops.cast(pairs.labels, "float32"), pairs.fingerprints
    real = ops.ones_like(labels) if pairs.weights is None else pairs.weights
    real = ops.tile(real > 0, [2])
    real = ops.logical_and(real[:, None], real[None, :])
    flat = ops.concatenate([marks[:, 0], marks[:, 1]])
    same = flat[:, None] == flat[None, :]
    similar = ops.logical_and(_paired(labels > 0.5), real)
    unlike = ops.logical_and(_paired(labels <= 0.5), real)
    group = _groups(ops.logical_or(same, similar))
    one_group = group[:, None] == group[None, :]
    other = ops.logical_and(real, ops.logical_not(same))
    negative = ops.logical_and(other, ops.logical_or(ops.logical_not(one_group), unlike))
    positive = ops.logical_and(other, ops.logical_and(one_group, ops.logical_not(unlike)))
    return positive, negative


def _paired(chosen: Any) -> Any:
    """Which pairs, bool [b] → which sentences are in one of them together, bool [2b, 2b]."""
    twice = ops.tile(chosen, [2])
    count = ops.shape(twice)[0]
    partner = ops.roll(ops.eye(count), count // 2, axis=1)
    return ops.logical_and(partner > 0, twice[:, None])


def _groups(connected: Any) -> Any:
    """Connected [n, n] (reflexive, symmetric) → for each the least index of its group, [n]."""
    count = ops.shape(connected)[0]

    # Each takes the least number among its neighbours until no number changes: as many rounds as
    # the longest chain of pairs in the batch, which is short.
    def spread(group: Any, _: Any) -> tuple[Any, Any]:
        least = ops.min(ops.where(connected, group[None, :], count), axis=1)
        return least, group

    def changed(group: Any, before: Any) -> Any:
        return ops.any(group != before)

    start = ops.arange(count, dtype="int32")
    return ops.while_loop(changed, spread, (start, start - 1))[0]
