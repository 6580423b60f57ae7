"""Beam transforms of preprocessing: shards → raw features, features → files of examples.

The functions that do the work lie in `examples`, `split`, `groups`, `transitive` and
`example_counts`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.metrics import Metrics

from transforms import transitive
from transforms.example_counts import count_features, count_inferred, count_read
from transforms.examples import NO_RECORDS, PARTS, TRAIN, WriteExamples, deal, raw_rows, serialize
from transforms.examples_folder import mark_done
from transforms.groups import hold_out
from transforms.labels import LabelRule
from transforms.ledger import REJECTS_FOLDER
from transforms.pairs import PairColumns, rejected_schema, sentences, split_rows
from transforms.shards import Shard, read_shard, shard_schema
from transforms.split import EvalSplit, buckets, text_hash
from transforms.writing import ShardWriter

COUNTS, INFERRED = "counts", "inferred"
LEARNED, TRANSFORMED = "learned", "transformed"
_METRICS = "twinbeam"
_Packed = tuple[tuple[str, int], bytes]  # (part, number of the file), packed records
# Tokens take about ten times the room of their text, and the graph sees a whole batch at once.
_BATCH_BYTES = 8 << 20
_BATCH_ROWS = 8192  # of inferred pairs, for the same reason
_BUCKET_ROWS, _MOST_BUCKETS = 1 << 15, 1 << 12


@dataclass(frozen=True)
class PairReading:
    """How rows become raw features.

    Attributes:
        columns: names of the sentence and label columns.
        labels: how labels are read.
        split: which pairs are kept for evaluation.
        max_chars: a row with a longer sentence is rejected.
    """

    columns: PairColumns
    labels: LabelRule
    split: EvalSplit
    max_chars: int

    def with_held_out(self, sentences: np.ndarray | None) -> PairReading:
        """The same, once the sentences that are held out are known; None says nothing of them."""
        if sentences is None:
            return self
        return replace(self, split=replace(self.split, held_out=sentences))


def check_rows(shard: Shard, how: PairReading) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
    """Batches of a shard: its good rows, and the rejected ones."""
    for batch in read_shard(shard, batch_bytes=_BATCH_BYTES):
        yield split_rows(batch, how.columns, max_chars=how.max_chars, labels=how.labels)


def read_hashes(shard: Shard, how: PairReading) -> Iterator[np.ndarray]:
    """Hashes of the sentences of a shard's good rows, batch by batch: uint64 [n, 2] or [n, 3]."""
    for good, _ in check_rows(shard, how):
        if good.num_rows:
            sides = [text_hash(sentences(good, name)) for name in how.columns.texts]
            yield np.stack(sides, axis=1)


@dataclass(eq=False)
class HoldOutGroups(beam.PTransform):
    """Shards → one array, the hashes of the sentences that are held out for evaluation.

    The hashes of all rows meet on one worker, 16 bytes a pair and some more to work with.
    """

    how: PairReading

    def expand(self, shards: beam.PCollection) -> beam.PCollection:
        """Wires the work."""
        hashes = shards | "Read hashes" >> beam.FlatMap(read_hashes, self.how)
        return (
            shards.pipeline
            | "Once for all groups" >> beam.Create([self.how.split.fraction])
            | "Choose groups" >> beam.Map(_choose, hashes=beam.pvalue.AsIter(hashes))
        )


def _choose(fraction: float, hashes: Iterable[np.ndarray]) -> np.ndarray:
    rows = list(hashes)
    return hold_out(np.concatenate(rows), fraction) if rows else np.zeros(0, np.uint64)


def read_pairs(
    shard: Shard, how: PairReading
) -> Iterator[tuple[dict[str, pa.RecordBatch], pa.RecordBatch]]:
    """Batches of a shard: the raw features of both parts, and the rejected rows."""
    for good, rejected in check_rows(shard, how):
        yield raw_rows(good, how.columns, how.labels, how.split), rejected


@dataclass
class ReadTrainingPairs(beam.DoFn):
    """Shard → raw features of its training part, and nothing else."""

    how: PairReading
    folder: str

    def process(self, shard: Shard, held_out: np.ndarray | None = None) -> Iterator[pa.RecordBatch]:
        """Reads one shard; `held_out` are the sentences of a split by groups."""
        for parts, _ in read_pairs(shard, self.how.with_held_out(held_out)):
            if parts[TRAIN].num_rows:
                yield parts[TRAIN]
        mark_done(self.folder, LEARNED, shard.name)


@dataclass
class ReadPairs(beam.DoFn):
    """Shard → raw features of both parts (outputs `train` and `eval`), and counts.

    Rejected rows go to `rejects/`, under the shard's name; doing it twice is harmless.
    """

    how: PairReading
    folder: str

    def process(
        self, shard: Shard, held_out: np.ndarray | None = None
    ) -> Iterator[beam.pvalue.TaggedOutput]:
        """Reads one shard; `held_out` are the sentences of a split by groups."""
        schema = rejected_schema(shard_schema(shard))
        target = f"{REJECTS_FOLDER}/{shard.name}"
        with ShardWriter(self.folder, target, schema, shard.source, "zstd") as rejects:
            for parts, rejected in read_pairs(shard, self.how.with_held_out(held_out)):
                for part, rows in parts.items():
                    if rows.num_rows:
                        yield beam.pvalue.TaggedOutput(part, rows)
                rejects.write(rejected)
                rows_in = rejected.num_rows + sum(rows.num_rows for rows in parts.values())
                counts = count_read(rows_in, rejected)
                for (name, *reason), rows in counts.items():
                    Metrics.counter(_METRICS, "_".join([name, *reason])).inc(rows)
                yield beam.pvalue.TaggedOutput(COUNTS, counts)
            if rejects.rows:
                rejects.finish()
        mark_done(self.folder, TRANSFORMED, shard.name)


@dataclass(eq=False)
class InferPairs(beam.PTransform):
    """Raw training pairs → raw pairs that follow from them and are new, and counts.

    Views of a sentence meet in one bucket, then all that is said of a pair does.

    Attributes:
        rounds: see `transitive`.
        split: pairs that it would keep for evaluation are left out.
        rows: about how many pairs there are, to choose how many buckets they need.
    """

    rounds: int
    split: EvalSplit
    rows: int

    def expand(self, pairs: beam.PCollection) -> tuple[beam.PCollection, beam.PCollection]:
        """Wires the work."""
        count = max(1, min(_MOST_BUCKETS, self.rows // _BUCKET_ROWS))
        inferred = (
            pairs
            | "See from both sides" >> beam.FlatMap(_views_by_sentence, count)
            | "Gather by sentence" >> beam.GroupByKey()
            | "Infer" >> beam.FlatMap(_inferred_by_pair, self.rounds, self.split, count)
        )
        known = pairs | "Hash pairs" >> beam.FlatMap(_said_by_pair, count)
        settled = (
            {"known": known, "inferred": inferred}
            | "Gather by pair" >> beam.CoGroupByKey()
            | "Settle" >> beam.FlatMap(_settled).with_outputs(COUNTS, main="pairs")
        )
        return settled.pairs | "Spread inferred pairs" >> beam.Reshuffle(), settled[COUNTS]


def _views_by_sentence(pairs: pa.RecordBatch, count: int) -> Iterator[tuple[int, Any]]:
    seen = transitive.views(pairs)
    for bucket, rows in buckets(text_hash(seen.column("middle")), count):
        yield bucket, seen.take(pa.array(rows))


def _inferred_by_pair(
    gathered: tuple[int, Iterable[pa.RecordBatch]], rounds: int, split: EvalSplit, count: int
) -> Iterator[tuple[int, Any]]:
    found = transitive.infer(pa.concat_batches(gathered[1]), rounds)
    found = found.filter(pa.array(~split.takes(*transitive.sides(found))))
    for bucket, rows in buckets(transitive.pair_hashes(found), count):
        yield bucket, found.take(pa.array(rows))


def _said_by_pair(pairs: pa.RecordBatch, count: int) -> Iterator[tuple[int, transitive.Said]]:
    said = transitive.said_of(pairs)
    for bucket, rows in buckets(said.hashes, count):
        yield bucket, said.rows(rows)


def _settled(grouped: tuple[int, dict[str, Iterable[Any]]]) -> Iterator[Any]:
    known, inferred = (list(grouped[1][name]) for name in ("known", "inferred"))
    if not inferred:
        return
    new, same, other = transitive.settle(transitive.Said.join(known), pa.concat_batches(inferred))
    yield beam.pvalue.TaggedOutput(COUNTS, count_inferred(new.num_rows, same, other))
    for start in range(0, new.num_rows, _BATCH_ROWS):
        yield new.slice(start, _BATCH_ROWS)


@dataclass
class EncodeExamples(beam.DoFn):
    """Features of one part → packed records for each of its files, and counts.

    Inferred pairs are counted where they are made: they are no rows of the input.
    """

    part: str
    files: int
    labels: LabelRule
    unknown_id: int | None
    inferred: bool = False

    def process(self, element: tuple[pa.RecordBatch, dict]) -> Iterator[Any]:
        """Encodes a batch; tf.Transform gives it with what passed through, which is nothing."""
        features, _ = element
        for number, packed in deal(serialize(features), self.files):
            yield (self.part, number), packed
        if self.inferred:
            Metrics.counter(_METRICS, "rows_inferred").inc(features.num_rows)
            return
        counts = count_features(self.part, features, self.labels, self.unknown_id)
        Metrics.counter(_METRICS, f"rows_{self.part}").inc(features.num_rows)
        yield beam.pvalue.TaggedOutput(COUNTS, counts)


@dataclass(eq=False)
class StoreExamples(beam.PTransform):
    """Features of both parts, and of inferred pairs → the files written, and counts.

    Attributes:
        folder: where to, local or gs://.
        files: how many files each part gets: exactly so many, even if some stay empty.
        labels: how labels were read, to count them by name.
        unknown_id: the id of tokens outside the vocabulary; None for raw text.
    """

    folder: str
    files: dict[str, int]
    labels: LabelRule
    unknown_id: int | None

    def expand(
        self, features: dict[str, beam.PCollection]
    ) -> tuple[beam.PCollection, beam.PCollection]:
        """Wires the work."""
        encoded = {name: self._encoded(name, rows) for name, rows in features.items()}
        numbers = [(part, number) for part in PARTS for number in range(self.files[part])]
        nothing = features[TRAIN].pipeline | "Name files" >> beam.Create(
            [(number, NO_RECORDS) for number in numbers]
        )
        written = (
            [*(each.records for each in encoded.values()), nothing]
            | "Join records" >> beam.Flatten().with_output_types(_Packed)
            | "Group by file" >> beam.GroupByKey()
            | "Write file" >> beam.Map(WriteExamples(self.folder, self.files))
        )
        counts = [each[COUNTS] for each in encoded.values()]
        return written, counts | "Join counts" >> beam.Flatten()

    def _encoded(self, name: str, features: beam.PCollection) -> Any:
        inferred = name == INFERRED
        part = TRAIN if inferred else name
        encode = EncodeExamples(part, self.files[part], self.labels, self.unknown_id, inferred)
        return features | f"Encode {name}" >> beam.ParDo(encode).with_outputs(
            COUNTS, main="records"
        )
