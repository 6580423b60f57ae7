"""The most similar partners of each sentence of a block, by the comparison itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from transforms.finding.search import Place
from transforms.input.search_names import Side
from transforms.vectors.near import Distance, Reach, as_unit, distances_of, near_pairs
from transforms.vectors.reach import Comparer, reachable

if TYPE_CHECKING:
    from transforms.vector_blocks.vector_block import VectorBlock

SPARE = 8  # more candidates than are kept: rounding may change places that are next to each other
SIDES: tuple[Side, Side] = ("left", "right")
LISTED = ("first", "side", "number", "second")
_COMPARED_AT_ONCE = 65_536
Pairs = tuple[np.ndarray, np.ndarray]


@dataclass
class Best:
    """The best partners of sentences so far; of equally similar ones those that stand first.

    Attributes:
        count: how many partners of a sentence are kept.
        partners: [n, 4]: a sentence, and side, block and place of its partner.
        similarities: float32 [n].
    """

    count: int
    partners: np.ndarray
    similarities: np.ndarray

    @classmethod
    def none_of(cls, count: int) -> Best:
        """Nothing yet."""
        return cls(count, np.zeros((0, 4), np.int64), np.zeros(0, np.float32))

    def offer(
        self, place: Place, first: np.ndarray, second: np.ndarray, similarities: np.ndarray
    ) -> None:
        """Takes what is better among pairs [n] of sentences with those of one block."""
        side, number = (np.full(len(first), value) for value in (SIDES.index(place[0]), place[1]))
        partners = np.concatenate([self.partners, np.stack([first, side, number, second], axis=1)])
        scores = np.concatenate([self.similarities, similarities])
        # lexsort's last key leads: by sentence, then the most similar first, then side, block and
        # place of the partner. So ties do not depend on the order in which blocks are offered.
        order = np.lexsort((*partners.T[:0:-1], -scores, partners[:, 0]))
        sentences = partners[order, 0]
        kept = order[np.arange(len(order)) - np.searchsorted(sentences, sentences) < self.count]
        self.partners, self.similarities = partners[kept], scores[kept]


@dataclass(frozen=True)
class PartnerSearch:
    """How partners are looked for.

    Attributes:
        comparer: decides; the distance only proposes.
        reach: how near partners are.
        least: the least similarity of a pair.
        threads: for the search.
    """

    comparer: Comparer
    reach: Reach
    least: float
    threads: int


def offer_block(
    best: Best,
    block: VectorBlock,
    place: Place,
    other: VectorBlock,
    rows: tuple[np.ndarray | None, np.ndarray | None],
    search: PartnerSearch,
) -> None:
    """Offers the sentences of one block to those of another.

    Args:
        best: of the sentences of `block` so far.
        block: whose partners are looked for.
        place: of the other block.
        other: the other block, or `block` itself.
        rows: which of `block` look for partners, and among which of `other`; None for all.
        search: how partners are looked for.
    """
    mine, theirs = rows
    u = block.vectors if mine is None else block.vectors[mine]
    v = other.vectors if theirs is None else other.vectors[theirs]
    if not len(u) or not len(v):
        return
    both = np.concatenate([u, v])
    within = other is block  # then the nearest of each sentence is itself: one more is looked for
    for first, second in _proposed(u, v, best.count + SPARE + within, search):
        same = (first == second) & within
        first, second = first[~same], second[~same]
        if not len(first):
            continue
        similar = search.comparer.compare(both, first, second + len(u))[0]
        kept = reachable(similar, search.least)
        scores = similar.to_numpy(zero_copy_only=False)[kept].astype(np.float32)
        first, second = first[kept], second[kept]
        first = first if mine is None else mine[first]
        best.offer(place, first, second if theirs is None else theirs[second], scores)


def _proposed(u: np.ndarray, v: np.ndarray, count: int, search: PartnerSearch) -> Iterator[Pairs]:
    """Pairs that may be among the best: the nearest or, for a head, all within its reach."""
    reach, threads = search.reach, search.threads
    if not reach.proposes:
        places = nearest_vectors(u, v, count, reach.distance, threads)
        first, second = np.repeat(np.arange(len(u)), places.shape[1]), places.ravel()
        yield first[second >= 0], second[second >= 0]
        return
    for first, second in near_pairs(u, v, reach, threads=threads):
        yield within_reach(u, v, (first, second), reach)


def within_reach(u: np.ndarray, v: np.ndarray, pairs: Pairs, reach: Reach) -> Pairs:
    """Those of the pairs that are within the radius, where that decides.

    A tile rounds by the order of its sums, and so by the machine; the distances here do not.
    """
    first, second = pairs
    if not reach.proposes or np.isinf(reach.radius):
        return pairs
    near = np.zeros(len(first), bool)
    for start in range(0, len(first), _COMPARED_AT_ONCE):
        part = slice(start, start + _COMPARED_AT_ONCE)
        apart = distances_of(u[first[part]], v[second[part]], reach.distance)
        near[part] = apart <= np.float32(reach.radius)
    return first[near], second[near]


def nearest_vectors(
    u: np.ndarray, v: np.ndarray, count: int, distance: Distance, threads: int
) -> np.ndarray:
    """The nearest of v [m, d] to each of u [n, d]: places int64 [n, min(count, m)], by faiss.

    −1 where a vector is not finite.
    """
    import faiss

    metrics = {
        "cosine": faiss.METRIC_INNER_PRODUCT,
        "euclidean": faiss.METRIC_L2,
        "manhattan": faiss.METRIC_L1,
    }
    faiss.omp_set_num_threads(threads)
    index = faiss.IndexFlat(v.shape[1], metrics[distance])
    index.add(np.ascontiguousarray(as_unit(v, distance), np.float32))
    wanted = np.ascontiguousarray(as_unit(u, distance), np.float32)
    _, places = index.search(wanted, min(count, len(v)))
    return places


def as_owned(block: int, best: Best, within: bool) -> tuple[pa.Table, np.ndarray]:
    """A block's lists as pairs, each with the block that writes it: [n].

    A pair of two blocks of one table is written by that with the lesser number; within one block
    the sentence with the lower place comes first.

    Args:
        block: whose lists these are.
        best: its lists.
        within: whether the left side is one table, whose sentences are partners of each other.
    """
    first, side, number, second = best.partners.T
    one = np.stack([np.full_like(first, block), first], axis=1)
    two = np.stack([number, second], axis=1)
    lesser = (number < block) | ((number == block) & (second < first))
    turned = (lesser & (side == 0) & within)[:, None]
    one, two = np.where(turned, two, one), np.where(turned, one, two)
    columns = one[:, 1], side, two[:, 0], two[:, 1]
    return pa.table(dict(zip(LISTED, columns, strict=True))), one[:, 0]


def owned_pairs(table: pa.Table, side: Side, number: int) -> Pairs:
    """The pairs that a block writes with another one, each once and in order: int64 [n] each."""
    first, sides, numbers, second = (table[name].to_numpy() for name in LISTED)
    owned = (sides == SIDES.index(side)) & (numbers == number)
    pairs = np.unique(np.stack([first[owned], second[owned]], axis=1), axis=0)
    return pairs[:, 0], pairs[:, 1]
