"""Pairs that follow from others, where similarity is transitive.

a ~ b and b ~ c make a ~ c; a ~ b and b ≁ c make a ≁ c. How many follow grows with the square of a
sentence's pairs, so they are taken in rounds: around each sentence its pairs form a circle, in
random order, and a round joins each with the next one. So a round adds about as many pairs as
there are, or fewer where most of them are there already.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from transforms.examples.counts import COUNTS, count_inferred
from transforms.examples.read_pairs import PairReading, good_rows
from transforms.examples.records import RAW_SCHEMA, one_each
from transforms.examples.split import EvalSplit
from transforms.hashing import pair_hash, split_by_hash, text_hash, unordered_hash
from transforms.input.shards import Shard
from transforms.pairs import sentences

_VIEW = pa.schema(
    [("middle", pa.large_binary()), ("other", pa.large_binary()), ("alike", pa.bool_())]
)


@dataclass(frozen=True, eq=False)
class HashedPairs:
    """Pairs by their hash, uint64 [n], and whether each is similar, bool [n]."""

    hashes: np.ndarray
    similar: np.ndarray

    def rows(self, numbers: np.ndarray) -> HashedPairs:
        """Some of them."""
        return HashedPairs(self.hashes[numbers], self.similar[numbers])

    @classmethod
    def join(cls, parts: Iterable[HashedPairs]) -> HashedPairs:
        """All of them as one."""
        nothing = HashedPairs(np.zeros(0, np.uint64), np.zeros(0, bool))
        hashes, similar = zip(
            *((each.hashes, each.similar) for each in (nothing, *parts)), strict=True
        )
        return cls(np.concatenate(hashes), np.concatenate(similar))


def views(pairs: pa.RecordBatch) -> pa.RecordBatch:
    """Raw pairs [n] as seen from both of their sentences: [2 n] of `middle`, `other`, `similar`."""
    first, second = sides(pairs)
    similar = pc.greater(pairs.column("label").flatten(), 0.5)
    twice = [(first, second), (second, first), (similar, similar)]
    return pa.RecordBatch.from_arrays([pa.concat_arrays(each) for each in twice], schema=_VIEW)


def pair_hashes(pairs: pa.RecordBatch) -> np.ndarray:
    """A hash of each raw pair, the same for its mirror: uint64 [n]."""
    return pair_hash(*sides(pairs))


def hashed_pairs(pairs: pa.RecordBatch) -> HashedPairs:
    """What raw pairs say."""
    return HashedPairs(pair_hashes(pairs), pairs.column("label").flatten().to_numpy() > 0.5)


def sides(pairs: pa.RecordBatch) -> tuple[pa.Array, pa.Array]:
    """Both sentences of raw pairs, [n] each."""
    return pairs.column("sentence1").flatten(), pairs.column("sentence2").flatten()


def infer(seen: pa.RecordBatch, rounds: int) -> pa.RecordBatch:
    """What follows around each middle sentence, in so many rounds.

    Args:
        seen: all views of some sentences, in any order.
        rounds: how many neighbours in the circle each pair is joined with.

    Returns:
        Raw pairs, some of them twice, or there already. Their order depends on the set of `seen`.
    """
    middle, other = text_hash(seen.column("middle")), text_hash(seen.column("other"))
    similar = seen.column("alike").to_numpy(zero_copy_only=False)
    _, group = np.unique(middle, return_inverse=True)
    # The order around a sentence is random, by a hash, and the same whatever the order of `seen`.
    circle = np.lexsort((other, unordered_hash(middle, other), group))
    near, far = circle[similar[circle]], circle[~similar[circle]]
    # Similar with similar from step 1 on, since step 0 is the pair itself; dissimilar with similar,
    # which are two circles, from step 0 on. Two dissimilar ones say nothing of each other.
    ones = [_joined(near, near, group, step) for step in range(1, rounds + 1)]
    zeros = [_joined(far, near, group, step) for step in range(rounds)]
    left, right = (np.concatenate(side) for side in zip(*ones, *zeros, strict=True))
    counts = [sum(len(rows) for rows, _ in part) for part in (ones, zeros)]
    label = np.repeat(np.array([1, 0], np.float32), counts)
    # Sides in the order of their hashes: a pair that follows twice comes out the same way round.
    swap = other[left] > other[right]
    ordered = [np.where(swap, right, left), np.where(swap, left, right)]
    first, second = (seen.column("other").take(pa.array(rows)) for rows in ordered)
    return _raw(first, second, pa.array(label))


def _joined(
    rows: np.ndarray, partners: np.ndarray, group: np.ndarray, step: int
) -> tuple[np.ndarray, np.ndarray]:
    """Each of the rows with a partner of its group, so many places on in the circle of partners.

    Rows and partners are numbers, ordered by group. Where a circle is too small for the step, its
    rows are left out: another step has joined them.
    """
    sizes = np.bincount(group[partners], minlength=group.max(initial=-1) + 1)
    starts = np.cumsum(sizes) - sizes
    own = group[rows]
    place = np.arange(len(rows)) - np.searchsorted(own, own)
    fits = sizes[own] > step
    rows, own, place = rows[fits], own[fits], place[fits]
    return rows, partners[starts[own] + (place + step) % sizes[own]]


def drop_contradictions(
    known: HashedPairs, inferred: pa.RecordBatch
) -> tuple[pa.RecordBatch, int, int]:
    """The inferred pairs that are new: once each, and none that was inferred both ways.

    Args:
        known: the labelled pairs.
        inferred: raw pairs; mirrored pairs are in the same order.

    Returns:
        The new pairs; of the others how many have the label that was inferred, and how many not.
    """
    first, second = sides(inferred)
    label = inferred.column("label").flatten().to_numpy()
    hashes, places, pair = np.unique(
        pair_hash(first, second), return_index=True, return_inverse=True
    )
    times, similar = np.bincount(pair), np.bincount(pair, weights=label)
    # A pair that follows both as similar and as dissimilar proves a wrong label somewhere, and is
    # dropped. So are a sentence with itself and, as nothing new, pairs that are there.
    agreed = (similar == 0) | (similar == times)
    differ = ~pc.equal(first, second).to_numpy(zero_copy_only=False)[places]
    already = np.isin(hashes, known.hashes)
    new = inferred.take(pa.array(places[agreed & differ & ~already]))
    tested = agreed & differ & already
    labelled = pd.Series(known.similar, known.hashes).groupby(level=0).max()
    same = int((labelled[hashes[tested]].to_numpy() == label[places[tested]]).sum())
    return new, same, int(tested.sum()) - same


def _raw(first: pa.Array, second: pa.Array, label: pa.Array) -> pa.RecordBatch:
    columns = [one_each(column) for column in (first, second, label)]
    return pa.RecordBatch.from_arrays(columns, schema=RAW_SCHEMA)


_BATCH_ROWS = 8192  # of inferred pairs: one element of a graph stays small
_BUCKET_ROWS, _MOST_BUCKETS = 1 << 15, 1 << 20  # a bucket is in a worker's memory as a whole


@dataclass(eq=False)
class InferPairs(beam.PTransform):
    """Raw training pairs → raw pairs that follow from them and are new, and counts.

    All views of a sentence meet in one bucket, and then all labels of a pair.

    Attributes:
        rounds: see `transitive`.
        split: pairs that it would keep for evaluation are left out.
        rows: about how many pairs there are, to choose how many buckets they need.
        measured: what `MeasuredPairs` gives, as a side input: these pairs are left out too.
    """

    rounds: int
    split: EvalSplit
    rows: int
    measured: Any = None

    def expand(self, pairs: beam.PCollection) -> tuple[beam.PCollection, beam.PCollection]:
        count = max(1, min(_MOST_BUCKETS, self.rows // _BUCKET_ROWS))
        inferred = (
            pairs
            | "See from both sides" >> beam.FlatMap(_views_by_sentence, count)
            | "Gather by sentence" >> beam.GroupByKey()
            | "Infer"
            >> beam.FlatMap(
                _inferred_by_pair, self.rounds, self.split, count, measured=self.measured
            )
        )
        known = pairs | "Hash pairs" >> beam.FlatMap(_labels_by_pair, count)
        new = (
            {"known": known, "inferred": inferred}
            | "Gather by pair" >> beam.CoGroupByKey()
            | "Drop contradictions"
            >> beam.FlatMap(_without_contradictions).with_outputs(COUNTS, main="pairs")
        )
        return new.pairs | "Spread inferred pairs" >> beam.Reshuffle(), new[COUNTS]


@dataclass(eq=False)
class MeasuredPairs(beam.PTransform):
    """Shards of files that a model is measured on → one array, the hashes of their pairs, sorted.

    A pair counts by its sentences' keys, so a variant of it is the same. 8 bytes a pair.

    Attributes:
        how: how rows are read, and what of a sentence counts.
    """

    how: PairReading

    def expand(self, shards: beam.PCollection) -> beam.PCollection:
        return (
            shards
            | "Hash measured pairs" >> beam.FlatMap(_hashes_of_pairs, self.how)
            | "Gather measured pairs" >> beam.combiners.ToList()
            | "Sort measured pairs" >> beam.Map(_sorted)
        )


def _hashes_of_pairs(shard: Shard, how: PairReading) -> Iterator[np.ndarray]:
    for rows in good_rows(shard, how):
        keyed = [how.split.keys(sentences(rows, name)) for name in how.columns.texts[:2]]
        yield pair_hash(*keyed)


def _sorted(hashes: list[np.ndarray]) -> np.ndarray:
    return np.unique(np.concatenate([np.zeros(0, np.uint64), *hashes]))


def _views_by_sentence(pairs: pa.RecordBatch, count: int) -> Iterator[tuple[int, Any]]:
    seen = views(pairs)
    for bucket, rows in split_by_hash(text_hash(seen.column("middle")), count):
        yield bucket, seen.take(pa.array(rows))


def _inferred_by_pair(
    gathered: tuple[int, Iterable[pa.RecordBatch]],
    rounds: int,
    split: EvalSplit,
    count: int,
    measured: np.ndarray | None = None,
) -> Iterator[tuple[int, Any]]:
    found = infer(pa.concat_batches(gathered[1]), rounds)
    # `split` decides by hashes: pairs of the evaluation part are known without being at hand.
    found = found.filter(pa.array(~split.takes(*sides(found))))
    if measured is not None:
        keyed = pair_hash(*map(split.keys, sides(found)))
        found = found.filter(pa.array(~np.isin(keyed, measured)))
    for bucket, rows in split_by_hash(pair_hashes(found), count):
        yield bucket, found.take(pa.array(rows))


def _labels_by_pair(pairs: pa.RecordBatch, count: int) -> Iterator[tuple[int, HashedPairs]]:
    labelled = hashed_pairs(pairs)
    for bucket, rows in split_by_hash(labelled.hashes, count):
        yield bucket, labelled.rows(rows)


def _without_contradictions(grouped: tuple[int, dict[str, Iterable[Any]]]) -> Iterator[Any]:
    known, inferred = (list(grouped[1][name]) for name in ("known", "inferred"))
    if not inferred:
        return
    new, same, other = drop_contradictions(HashedPairs.join(known), pa.concat_batches(inferred))
    yield beam.pvalue.TaggedOutput(COUNTS, count_inferred(new.num_rows, same, other))
    for start in range(0, new.num_rows, _BATCH_ROWS):
        yield new.slice(start, _BATCH_ROWS)
