"""Groups of sentences that pairs link, directly or through others, and which are held out.

Where sentences are in many pairs, held-out pairs consist of sentences that training has seen.
A group in the evaluation part shares no sentence with the training part
(scikit-learn's GroupShuffleSplit is the same idea, with groups that are given).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import apache_beam as beam
import numpy as np

from transforms.errors import UserError
from transforms.examples.read_pairs import PairReading, good_rows
from transforms.hashing import text_hash
from transforms.input.shards import Shard
from transforms.pairs import sentences

LARGEST = 0.25  # of the evaluation part: a few large groups would speak for all others


def hold_out(rows: np.ndarray, fraction: float) -> np.ndarray:
    """Chooses groups, with about that share of the rows; their sentences.

    The choice depends on the set of the rows, not on their order. Takes about 100 bytes a row.

    Args:
        rows: hashes of each row's sentences, uint64 [n, 2], or [n, 3] for triplets.
        fraction: the share of the rows. Groups too large for it stay in training.

    Returns:
        Hashes of the sentences that are held out, sorted: uint64 [h].

    Raises:
        UserError: all groups are too large.
    """
    sentences, links = np.unique(rows, return_inverse=True)
    links = links.reshape(rows.shape)
    groups = connected(links, len(sentences))
    sizes = np.bincount(groups[links[:, 0]], minlength=len(sentences))  # rows, by number of group
    room = round(fraction * len(rows))
    small = np.flatnonzero((sizes > 0) & (sizes <= max(1, LARGEST * room)))
    if room and not len(small):
        raise UserError(
            f"eval_split: groups finds none to hold out: its {np.count_nonzero(sizes):,} groups of "
            "pairs that share sentences are too large; choose eval_split: pairs in the recipe"
        )
    taken = np.zeros(len(sentences), bool)
    # A group's number is that of its least hash, so the order is at random, and the same each time.
    for group in small[np.argsort(_shuffled(sentences[small]), kind="stable")]:
        if sizes[group] <= room:
            taken[group] = True
            room -= sizes[group]
    return sentences[taken[groups]]


def _shuffled(hashes: np.ndarray) -> np.ndarray:
    """Least hashes of groups are small numbers; their lower half is as random as any."""
    return hashes << np.uint64(32)


def connected(links: np.ndarray, count: int) -> np.ndarray:
    """The least number of each one's group, int64 [count].

    All members of a row are linked. Rows hook the groups of their members on the least of them,
    and chains are halved, until nothing changes (Shiloach and Vishkin 1982).

    Args:
        links: numbers from 0 to count − 1, [n, s].
        count: how many there are.
    """
    group = np.arange(count)
    while True:
        found = group[links]
        least = found.min(axis=1, keepdims=True)
        if (found == least).all():
            return group
        np.minimum.at(group, found, np.broadcast_to(least, found.shape))
        while not np.array_equal(shorter := group[group], group):
            group = shorter


def read_hashes(shard: Shard, how: PairReading) -> Iterator[np.ndarray]:
    """Hashes of the keys of a shard's good rows, batch by batch: uint64 [n, 2] or [n, 3]."""
    keys = how.split.keys
    for good in good_rows(shard, how):
        if good.num_rows:
            sides = [text_hash(keys(sentences(good, name))) for name in how.columns.texts]
            yield np.stack(sides, axis=1)


@dataclass(eq=False)
class HoldOutGroups(beam.PTransform):
    """Shards → one array, the hashes of the sentences that are held out for evaluation.

    The hashes of all rows meet on one worker, 16 bytes a pair and some more to work with.
    """

    how: PairReading

    def expand(self, shards: beam.PCollection) -> beam.PCollection:
        hashes = (
            shards
            | "Spread shards to group" >> beam.Reshuffle()
            | "Read hashes" >> beam.FlatMap(read_hashes, self.how)
        )
        return (
            shards.pipeline
            | "Once for all groups" >> beam.Create([self.how.split.fraction])
            | "Choose groups" >> beam.Map(_choose, hashes=beam.pvalue.AsIter(hashes))
        )


def _choose(fraction: float, hashes: Iterable[np.ndarray]) -> np.ndarray:
    rows = list(hashes)
    return hold_out(np.concatenate(rows), fraction) if rows else np.zeros(0, np.uint64)
