"""The most similar sentences of another table, for each sentence of a block."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from transforms.vectors.near import Distance, unit_vectors

if TYPE_CHECKING:
    from transforms.finding.vector_block import VectorBlock
    from transforms.vectors.reach import Comparer

SPARE = 8  # more candidates than are kept: rounding may change places that are next to each other


class Best:
    """The k best partners of each of n sentences so far; of equal ones those met first.

    Attributes:
        similarities: float32 [n, k], the best first; −∞ where there is none yet.
        numbers: of the blocks that the partners are in, int64 [n, k].
        rows: their places there, int64 [n, k].
    """

    def __init__(self, sentences: int, count: int):
        """Nothing yet."""
        self.similarities = np.full((sentences, count), -np.inf, np.float32)
        self.numbers = np.full((sentences, count), -1, np.int64)
        self.rows = np.zeros((sentences, count), np.int64)

    def offer(self, number: int, similarities: np.ndarray, rows: np.ndarray) -> None:
        """Takes what is better among partners [n, m] of one block, by their places in it."""
        count = self.rows.shape[1]
        order = np.argsort(rows, axis=1, kind="stable")  # of equal ones the first in the block
        rows = np.take_along_axis(rows, order, axis=1)
        similarities = np.take_along_axis(similarities, order, axis=1)
        all_similarities = np.hstack([self.similarities, similarities])
        kept = np.argsort(-all_similarities, axis=1, kind="stable")[:, :count]
        numbers = np.hstack([self.numbers, np.full(rows.shape, number, np.int64)])
        self.similarities = np.take_along_axis(all_similarities, kept, axis=1)
        self.numbers = np.take_along_axis(numbers, kept, axis=1)
        self.rows = np.take_along_axis(np.hstack([self.rows, rows]), kept, axis=1)

    def of_block(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Sentences and their partners in a block, int64 [m] each, in order."""
        first, place = np.nonzero((self.numbers == number) & (self.similarities > -np.inf))
        second = self.rows[first, place]
        order = np.lexsort((second, first))
        return first[order], second[order]


def nearest(
    u: np.ndarray, v: np.ndarray, count: int, distance: Distance, threads: int
) -> np.ndarray:
    """The nearest of v [m, d] to each of u [n, d]: places int64 [n, min(count, m)], by faiss.

    −1 where a vector is no number.
    """
    import faiss

    metrics = {
        "cosine": faiss.METRIC_INNER_PRODUCT,
        "euclidean": faiss.METRIC_L2,
        "manhattan": faiss.METRIC_L1,
    }
    if distance == "cosine":
        u, v = unit_vectors(u), unit_vectors(v)
    faiss.omp_set_num_threads(threads)
    index = faiss.IndexFlat(v.shape[1], metrics[distance])
    index.add(np.ascontiguousarray(v, np.float32))
    _, places = index.search(np.ascontiguousarray(u, np.float32), min(count, len(v)))
    return places


def best_partners(
    block: VectorBlock,
    numbers: range,
    load: Callable[[int], VectorBlock],
    comparer: Comparer,
    count: int,
    distance: Distance,
    threads: int,
) -> Best:
    """The most similar sentences in some blocks, by the comparison itself.

    Args:
        block: whose partners are wanted.
        numbers: of the blocks to look in.
        load: number → block.
        comparer: decides; the distance only proposes.
        count: how many partners of each sentence.
        distance: what the similarity is a function of.
        threads: for faiss.
    """
    best = Best(len(block), count)
    for number in numbers:
        other = load(number)
        if not len(block) or not len(other):
            continue
        places = nearest(block.vectors, other.vectors, count + SPARE, distance, threads)
        first, second = np.repeat(np.arange(len(block)), places.shape[1]), places.ravel()
        both = np.concatenate([block.vectors, other.vectors])
        found = comparer.compare(both, first, np.maximum(second, 0) + len(block))[0]
        similar = np.where(second >= 0, found.to_numpy(zero_copy_only=False), -np.inf)
        similar = np.nan_to_num(similar.astype(np.float32), nan=-np.inf)
        best.offer(number, similar.reshape(places.shape), places)
    return best
