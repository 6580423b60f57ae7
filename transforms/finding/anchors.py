"""Sentences that are searched in full, so that it is known what a faster search misses."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from transforms.finding.search import Place
from transforms.hashing import text_hash
from transforms.vector_blocks.vector_block import VectorBlock, nowhere
from transforms.vectors.cells import Cells
from transforms.vectors.near import Reach, distances_of, near_pairs
from transforms.vectors.reach import Comparer, reachable
from transforms.vectors.visits import AnyCells, VisitedCells

_ANCHOR_KEY = "twinbeam-anchor1"  # 16 characters, as SipHash wants
_COMPARED_AT_ONCE = 65_536
NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Anchors:
    """Sentences that are compared with all others.

    Attributes:
        number: of the block of the left side that they are in.
        rows: their places in it, [n].
        vectors: float32 [n, d].
        among: how many sentences the block has.
        homes: where they live, int64 [n]; empty where vectors visit no cells.
        visits: the cells that each one visits, in order, int64 [n, v].
    """

    number: int
    rows: np.ndarray
    vectors: np.ndarray
    among: int
    homes: np.ndarray = field(default_factory=nowhere)
    visits: np.ndarray = field(default_factory=nowhere)


@dataclass(frozen=True)
class Needed:
    """Pairs of anchors with the sentences of one block, and what it takes to find them.

    Attributes:
        anchors: which anchor each is of, int64 [n].
        similarities: float32 [n].
        going: at which visit the anchor comes to the other's cell, from 1: int64 [n].
        coming: at which visit the other comes to the anchor's cell.
        apart: their distance, float32 [n].
    """

    anchors: np.ndarray
    similarities: np.ndarray
    going: np.ndarray
    coming: np.ndarray
    apart: np.ndarray


def choose_anchors(number: int, block: VectorBlock, share: float) -> Anchors:
    """About such a share of a block's sentences, by a hash of theirs."""
    hashes = text_hash(block.sentences, _ANCHOR_KEY)
    rows = np.flatnonzero((hashes >> np.uint64(11)) / float(1 << 53) < share)
    found = Anchors(number, rows, block.vectors[rows], len(block))
    if not len(block.homes):
        return found
    return replace(found, homes=block.homes[rows], visits=block.visits[rows])


def search_block(
    place: Place,
    block: VectorBlock,
    anchors: Sequence[Anchors],
    cells: AnyCells | None,
    comparer: Comparer,
    reach: Reach,
    least: float,
) -> Needed:
    """Finds all similar pairs of the anchors with a block's sentences.

    Args:
        place: of the block.
        block: whose sentences are compared with the anchors.
        anchors: of all blocks of the left side.
        cells: that the blocks are; None where they are shares by hash.
        comparer: decides what is similar.
        reach: how near similar ones are; without a limit every pair is compared.
        least: the least similarity.
    """
    vectors = np.concatenate([part.vectors for part in anchors])
    homes = np.repeat([part.number for part in anchors], [len(part.rows) for part in anchors])
    rows = np.concatenate([part.rows for part in anchors])
    both = np.concatenate([vectors, block.vectors])
    found = []
    for first, second in _proposed(vectors, block.vectors, reach):
        same = (homes[first] == place[1]) & (rows[first] == second) & (place[0] == "left")
        first, second = first[~same], second[~same]
        if len(first):
            similarities = comparer.compare(both, first, second + len(vectors))[0]
            kept = reachable(similarities, least)
            scores = similarities.to_numpy(zero_copy_only=False)[kept]
            found.append((first[kept], second[kept], scores))
    none = np.zeros(0, np.int64)
    first, second = (np.concatenate([none, *(part[side] for part in found)]) for side in (0, 1))
    scores = np.concatenate([np.zeros(0, np.float32), *(part[2] for part in found)])
    going = coming = np.ones(len(first), np.int64)
    if isinstance(cells, VisitedCells):
        going, coming = _visits(anchors, block, cells, first, second)
    elif cells is not None:
        same = homes[first] == place[1]
        going = np.where(same, 1, _ranks(cells, vectors)[first, place[1]])
        ranks = _ranks(cells, block.vectors[second])
        coming = np.where(same, 1, ranks[np.arange(len(first)), homes[first]])
    apart = distances_of(vectors[first], block.vectors[second], reach.distance)
    return Needed(first, scores, going, coming, apart)


def _proposed(
    u: np.ndarray, v: np.ndarray, reach: Reach
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    if not np.isinf(reach.radius):
        threads = len(os.sched_getaffinity(0))
        for second, first in near_pairs(v, u, reach, threads=threads):  # many strips of the block
            yield first, second
        return
    for start in range(0, len(u) * len(v), _COMPARED_AT_ONCE):
        numbers = np.arange(start, min(start + _COMPARED_AT_ONCE, len(u) * len(v)))
        yield numbers // len(v), numbers % len(v)


def _visits(
    anchors: Sequence[Anchors],
    block: VectorBlock,
    cells: VisitedCells,
    first: np.ndarray,
    second: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """At which visit anchors come to the homes of a block's sentences, and these to theirs."""
    parts = [part for part in anchors if len(part.homes)]
    homes = np.concatenate([part.homes for part in parts])
    visits = np.concatenate([part.visits for part in parts])
    mine, theirs = cells.cells[homes[first]], cells.cells[block.homes[second]]
    return _place_of(theirs, visits[first]), _place_of(mine, block.visits[second])


def _place_of(cells: np.ndarray, visits: np.ndarray) -> np.ndarray:
    """At which visit [n, v] each cell [n] is reached, from 1; NEVER where it is not."""
    reached = visits == cells[:, None]
    return np.where(reached.any(axis=1), reached.argmax(axis=1) + 1, NEVER)


def _ranks(cells: Cells, vectors: np.ndarray) -> np.ndarray:
    """At which visit each vector comes to each cell, from 1: int64 [n, c]."""
    order = np.argsort(cells.distances(vectors), axis=1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(1, order.shape[1] + 1)[None], axis=1)
    return ranks
