"""Beam transforms of preprocessing: shards → raw features, features → files of examples.

The functions that do the work lie in `examples`, `split`, `groups` and `example_counts`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.metrics import Metrics

from transforms.example_counts import count_features, count_read
from transforms.examples import NO_RECORDS, PARTS, TRAIN, WriteExamples, deal, raw_rows, serialize
from transforms.examples_folder import mark_done
from transforms.groups import hold_out
from transforms.labels import LabelRule
from transforms.ledger import REJECTS_FOLDER
from transforms.pairs import PairColumns, rejected_schema, sentences, split_rows
from transforms.shards import Shard, read_shard, shard_schema
from transforms.split import EvalSplit, text_hash
from transforms.writing import ShardWriter

COUNTS = "counts"
LEARNED, TRANSFORMED = "learned", "transformed"
_METRICS = "twinbeam"
_Packed = tuple[tuple[str, int], bytes]  # (part, number of the file), packed records
# Tokens take about ten times the room of their text, and the graph sees a whole batch at once.
_BATCH_BYTES = 8 << 20


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


@dataclass
class EncodeExamples(beam.DoFn):
    """Features of one part → packed records for each of its files, and counts."""

    part: str
    files: int
    labels: LabelRule
    unknown_id: int | None

    def process(self, element: tuple[pa.RecordBatch, dict]) -> Iterator[Any]:
        """Encodes a batch; tf.Transform gives it with what passed through, which is nothing."""
        features, _ = element
        for number, packed in deal(serialize(features), self.files):
            yield (self.part, number), packed
        counts = count_features(self.part, features, self.labels, self.unknown_id)
        Metrics.counter(_METRICS, f"rows_{self.part}").inc(features.num_rows)
        yield beam.pvalue.TaggedOutput(COUNTS, counts)


@dataclass(eq=False)
class StoreExamples(beam.PTransform):
    """Features of both parts → the files written, and counts.

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
        encoded = {
            part: features[part]
            | f"Encode {part}"
            >> beam.ParDo(
                EncodeExamples(part, self.files[part], self.labels, self.unknown_id)
            ).with_outputs(COUNTS, main="records")
            for part in PARTS
        }
        numbers = [(part, number) for part in PARTS for number in range(self.files[part])]
        nothing = features[TRAIN].pipeline | "Name files" >> beam.Create(
            [(number, NO_RECORDS) for number in numbers]
        )
        written = (
            [*(encoded[part].records for part in PARTS), nothing]
            | "Join records" >> beam.Flatten().with_output_types(_Packed)
            | "Group by file" >> beam.GroupByKey()
            | "Write file" >> beam.Map(WriteExamples(self.folder, self.files))
        )
        return written, [encoded[part][COUNTS] for part in PARTS] | "Join counts" >> beam.Flatten()
