"""Shards of labelled pairs and a transform graph → files of examples, and all rows counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import apache_beam as beam

from transforms.examples.counts import COUNTS, INFERRED, add_up
from transforms.examples.inferred_pairs import InferPairs
from transforms.examples.read_pairs import PairReading, ReadPairs
from transforms.examples.records import PARTS, TRAIN, raw_schema, tensor_adapter_config
from transforms.examples.store_examples import StoreExamples


@dataclass(eq=False)
class TransformPairs(beam.PTransform):
    """Shards → the files written, and the counts of all rows.

    The shards were read once before, to learn the vocabulary, and are read again here: reading
    costs little, and keeping the rows would cost memory as large as the input. Hence the
    reshuffle: without it a runner fuses both readings into one step and does keep them.

    Attributes:
        how: how rows are read, and which are kept for evaluation.
        graph: what `LearnVocabulary` gives.
        store: where examples are written to.
        infer: adds pairs that follow from those of the training part; None adds none.
        held_out: the sentences of a split by groups, as a side input; None of a split by pairs.
    """

    how: PairReading
    graph: Any
    store: StoreExamples
    infer: InferPairs | None = None
    held_out: Any = None

    def expand(self, shards: beam.PCollection) -> tuple[beam.PCollection, beam.PCollection]:
        import tensorflow_transform.beam as tft_beam

        known = {} if self.held_out is None else {"held_out": self.held_out}
        read = (
            shards
            | "Spread shards to transform" >> beam.Reshuffle()
            | "Read pairs"
            >> beam.ParDo(ReadPairs(self.how, self.store.folder), **known).with_outputs(
                *PARTS, COUNTS
            )
        )
        pairs, counts = {part: read[part] for part in PARTS}, [read[COUNTS]]
        if self.infer is not None:
            pairs[INFERRED], inferred = read[TRAIN] | "Infer pairs" >> self.infer
            counts.append(inferred)
        raw = tensor_adapter_config(raw_schema(self.how.columns))
        features = {
            name: ((rows, raw), self.graph)
            | f"Transform {name}" >> tft_beam.TransformDataset(output_record_batches=True)
            for name, rows in pairs.items()
        }
        written, stored = {name: rows for name, (rows, _) in features.items()} | self.store
        total = (
            (stored, *counts)
            | "Join all counts" >> beam.Flatten()
            | "Add up" >> beam.CombineGlobally(add_up)
        )
        return written, total
