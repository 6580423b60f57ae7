"""Counts, by Beam, the labels that each sentence of the training pairs was seen with."""

from __future__ import annotations

import apache_beam as beam

from transforms.labels import LabelRule, parse_labels
from transforms.pairs import PairColumns, sentences, split_rows
from transforms.sentence_priors import SentencePriors, add_priors
from transforms.shards import Shard, read_shard

_NO_LIMIT = 1 << 31


def count_sentences(shard: Shard, columns: PairColumns, labels: LabelRule) -> SentencePriors:
    """The label sums of the sentences of one shard; rows that cannot be read are left out."""
    classes = _classes(labels)
    assert columns.label is not None
    counted = []
    for batch in read_shard(shard, columns=[*columns.sides, columns.label]):
        good, _ = split_rows(batch, columns, max_chars=_NO_LIMIT, labels=labels)
        side1, side2 = (sentences(good, name) for name in columns.sides)
        values = parse_labels(good.column(columns.label), labels)
        numbers = values.to_numpy(zero_copy_only=False)
        counted.append(SentencePriors.of(side1, side2, numbers, classes))
    return add_priors(counted, classes=classes)


def _classes(labels: LabelRule) -> int | None:
    return len(labels.classes) if labels.classes else None


class CountSentences(beam.PTransform):
    """Shards of training pairs → one `SentencePriors`."""

    def __init__(self, columns: PairColumns, labels: LabelRule):
        """Takes where the columns are and how labels are read."""
        super().__init__()
        self._columns, self._labels = columns, labels

    def expand(self, shards: beam.PCollection) -> beam.PCollection:
        """Wires the work."""
        return (
            shards
            | "Count shard" >> beam.Map(count_sentences, self._columns, self._labels)
            | "Add up" >> beam.CombineGlobally(add_priors, classes=_classes(self._labels))
        )
