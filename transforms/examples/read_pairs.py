"""Shards of labelled pairs → the raw features of the training and the evaluation part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.metrics import Metrics

from transforms.accounts.claims import Claim
from transforms.accounts.shard_account import rejects_name
from transforms.accounts.shard_writer import ShardWriter
from transforms.examples.counts import COUNTS, count_read
from transforms.examples.records import TRAIN, raw_rows
from transforms.examples.shard_marks import mark_done
from transforms.examples.split import EvalSplit
from transforms.input.read_shards import ShardReader
from transforms.input.shards import Shard
from transforms.labels import LabelRule
from transforms.pairs import PairColumns, rejected_schema, split_rows

LEARNED, TRANSFORMED = "learned", "transformed"
METRICS = "twinbeam"
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


def check_rows(
    reader: ShardReader, how: PairReading
) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
    """Batches of a shard: its good rows, and the rejected ones."""
    for batch in reader.batches(batch_bytes=_BATCH_BYTES):
        yield split_rows(batch, how.columns, max_chars=how.max_chars, labels=how.labels)


def good_rows(shard: Shard, how: PairReading) -> Iterator[pa.RecordBatch]:
    """Batches of a shard's good rows."""
    with ShardReader(shard) as reader:
        for good, _ in check_rows(reader, how):
            yield good


def read_pairs(
    reader: ShardReader, how: PairReading
) -> Iterator[tuple[dict[str, pa.RecordBatch], pa.RecordBatch]]:
    """Batches of a shard: the raw features of both parts, and the rejected rows."""
    for good, rejected in check_rows(reader, how):
        yield raw_rows(good, how.columns, how.labels, how.split), rejected


@dataclass
class ReadTrainingPairs(beam.DoFn):
    """Shard → raw features of its training part, and nothing else."""

    how: PairReading
    folder: str

    def process(self, shard: Shard, held_out: np.ndarray | None = None) -> Iterator[pa.RecordBatch]:
        """Reads one shard; `held_out` are the sentences of a split by groups."""
        with ShardReader(shard) as reader:
            for parts, _ in read_pairs(reader, self.how.with_held_out(held_out)):
                if parts[TRAIN].num_rows:
                    yield parts[TRAIN]
        mark_done(self.folder, LEARNED, shard.name)


@dataclass
class ReadPairs(beam.DoFn):
    """Shard → raw features of both parts (outputs `train` and `eval`), and counts.

    Rejected rows go to `_rejects/`, under the shard's name; doing it twice is harmless.
    """

    how: PairReading
    folder: str

    def process(
        self, shard: Shard, held_out: np.ndarray | None = None
    ) -> Iterator[beam.pvalue.TaggedOutput]:
        """Reads one shard; `held_out` are the sentences of a split by groups."""
        target = rejects_name(shard.name)
        with (
            ShardReader(shard) as reader,
            ShardWriter(
                Claim(self.folder), target, rejected_schema(reader.schema), shard.source, "zstd",
                reader.times_in_utc,
            ) as rejects,
        ):  # fmt: skip
            for parts, rejected in read_pairs(reader, self.how.with_held_out(held_out)):
                for part, rows in parts.items():
                    if rows.num_rows:
                        yield beam.pvalue.TaggedOutput(part, rows)
                rejects.write(rejected)
                rows_in = rejected.num_rows + sum(rows.num_rows for rows in parts.values())
                counts = count_read(rows_in, rejected)
                for (name, *reason), rows in counts.items():
                    Metrics.counter(METRICS, "_".join([name, *reason])).inc(rows)
                yield beam.pvalue.TaggedOutput(COUNTS, counts)
            if rejects.rows:
                rejects.finish()
        mark_done(self.folder, TRANSFORMED, shard.name)
