"""Features of pairs → files of examples, and what they hold, counted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics import Metrics

from transforms.examples.counts import COUNTS, INFERRED, count_features
from transforms.examples.read_pairs import METRICS
from transforms.examples.records import NO_RECORDS, PARTS, TRAIN, WriteExamples, deal, serialize
from transforms.labels import LabelRule

_Packed = tuple[tuple[str, int], bytes]  # (part, number of the file), packed records


@dataclass
class EncodeExamples(beam.DoFn):
    """Features of one part → packed records for each of its files, and counts.

    Inferred pairs are counted where they are made: they are not rows of the input.
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
            Metrics.counter(METRICS, "rows_inferred").inc(features.num_rows)
            return
        counts = count_features(self.part, features, self.labels, self.unknown_id)
        Metrics.counter(METRICS, f"rows_{self.part}").inc(features.num_rows)
        yield beam.pvalue.TaggedOutput(COUNTS, counts)


def _no_records(files: dict[str, int]) -> Iterator[_Packed]:
    """Makes each file be written, even if it gets no records."""
    for part in PARTS:
        for number in range(files[part]):
            yield (part, number), NO_RECORDS


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
        encoded = {name: self._encoded(name, rows) for name, rows in features.items()}
        nothing = (
            features[TRAIN].pipeline
            | "Count files" >> beam.Create([self.files])
            | "Name files" >> beam.FlatMap(_no_records)
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
