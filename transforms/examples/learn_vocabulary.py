"""Shards of labelled pairs → the transform graph, with the vocabulary of the training part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import apache_beam as beam

from transforms.examples.read_pairs import PairReading, ReadTrainingPairs
from transforms.examples.records import raw_schema, tensor_adapter_config

if TYPE_CHECKING:
    from transforms.text.features import TextFeatures


@dataclass(eq=False)
class LearnVocabulary(beam.PTransform):
    """Shards → tf.Transform's graph, and the folder it was written to.

    Nothing of the evaluation part is seen: a vocabulary that knew its words would make the
    evaluation better than what production will be.

    Attributes:
        how: how rows are read, and which are kept for evaluation.
        features: from raw sentences to ids; what tf.Transform analyses.
        staging: where it is noted which shards are done.
        graph: the folder that the graph is written to.
        held_out: the sentences of a split by groups, as a side input; None of a split by pairs.
    """

    how: PairReading
    features: TextFeatures
    staging: str
    graph: str
    held_out: Any = None

    def expand(self, shards: beam.PCollection) -> tuple[Any, beam.PCollection]:
        import tensorflow_transform.beam as tft_beam

        known = {} if self.held_out is None else {"held_out": self.held_out}
        pairs = (
            shards
            | "Spread shards to learn from" >> beam.Reshuffle()
            | "Read training pairs"
            >> beam.ParDo(ReadTrainingPairs(self.how, self.staging), **known)
        )
        raw = tensor_adapter_config(raw_schema(self.how.columns))
        graph = (pairs, raw) | "Analyse" >> tft_beam.AnalyzeDataset(self.features)
        return graph, graph | "Write graph" >> tft_beam.WriteTransformFn(self.graph)
