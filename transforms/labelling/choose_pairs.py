"""Shards of scored pairs → candidates for labelling, in one pass and in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import apache_beam as beam

from transforms.input.read_shards import read_shard
from transforms.input.shards import Shard
from transforms.labelling.candidates import Candidates, ChoiceSettings, candidates_of


def choose_from_shard(shard: Shard, settings: ChoiceSettings) -> Candidates:
    """The candidates among the rows of one shard."""
    found = Candidates()
    for batch in read_shard(shard, columns=settings.needed()):
        found = found.with_more(candidates_of(batch, settings), settings)
    return found


@dataclass
class ChooseCandidates(beam.PTransform):
    """Shards → one `Candidates` of all their rows."""

    settings: ChoiceSettings

    def expand(self, shards: beam.PCollection) -> beam.PCollection:
        return (
            shards
            | "Choose from shard" >> beam.Map(choose_from_shard, self.settings)
            | "Merge candidates" >> beam.CombineGlobally(_Merge(self.settings))
        )


@dataclass
class _Merge(beam.CombineFn):
    settings: ChoiceSettings

    def create_accumulator(self) -> Candidates:
        return Candidates()

    def add_input(self, accumulator: Candidates, element: Candidates) -> Candidates:
        return accumulator.with_more(element, self.settings)

    def merge_accumulators(self, accumulators: Iterable[Candidates]) -> Candidates:
        merged = Candidates()
        for each in accumulators:
            merged = merged.with_more(each, self.settings)
        return merged

    def extract_output(self, accumulator: Candidates) -> Candidates:
        return accumulator
