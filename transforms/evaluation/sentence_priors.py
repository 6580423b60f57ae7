"""What single sentences say: labels seen with each in training, without comparing any two.

Where the same sentences are in the pairs of training and test, the labels a sentence was seen
with already give much of the answer away. A model that beats this baseline by little has learned
little about comparing. Counts are kept by a 64-bit hash: 8 bytes for a sentence and 8 for
each label sum.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import apache_beam as beam
import numpy as np
import pyarrow as pa

from transforms.hashing import text_hash
from transforms.input.read_shards import read_shard
from transforms.input.shards import Shard
from transforms.labels import LabelRule, parse_labels
from transforms.pairs import PairColumns, sentences, split_rows

PSEUDO_ROWS = 1.0  # a sentence seen once is believed half


@dataclass(frozen=True)
class SentencePriors:
    """Label sums of each sentence, and of all rows.

    Attributes:
        hashes: of the distinct sentences, uint64 [m], rising.
        sums: rows by class, float64 [m, classes]; for number labels rows and sum of labels [m, 2].
        total: the same over all rows, each once, float64 [classes] or [2].
    """

    hashes: np.ndarray
    sums: np.ndarray
    total: np.ndarray

    @classmethod
    def count(
        cls, side1: pa.Array, side2: pa.Array, labels: np.ndarray, classes: int | None
    ) -> SentencePriors:
        """Counts pairs.

        Args:
            side1: first sentences [n].
            side2: second sentences [n].
            labels: class indices, or numbers where `classes` is None, [n].
            classes: how many classes there are.
        """
        if classes is None:
            rows = np.stack([np.ones(len(labels)), labels.astype(np.float64)], axis=1)
        else:
            rows = np.eye(classes)[labels.astype(np.int64)]
        hashes = np.r_[text_hash(side1), text_hash(side2)]
        return cls(*_grouped(hashes, np.r_[rows, rows]), rows.sum(axis=0))

    def look_up(self, sentences: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """Whether each sentence was seen, bool [n], and its label sums, float64 [n, …]."""
        hashes = text_hash(sentences)
        place = np.searchsorted(self.hashes, hashes).clip(0, max(len(self.hashes) - 1, 0))
        if not len(self.hashes):
            return np.zeros(len(hashes), bool), np.zeros((len(hashes), len(self.total)))
        seen = self.hashes[place] == hashes
        return seen, np.where(seen[:, None], self.sums[place], 0)

    def class_probabilities(self, side1: pa.Array, side2: pa.Array) -> np.ndarray:
        """Probability of each class from the two sentences alone, float64 [n, classes].

        The sentences count as independent given the label (naive Bayes).
        """
        # ln p(y) + Σ ln (p(y | sentence) / p(y)) over both sentences. p(y | sentence) is drawn
        # towards p(y) as if by PSEUDO_ROWS more rows, so an unseen sentence adds nothing.
        base = (self.total + 1) / (self.total.sum() + len(self.total))
        logits = np.log(base)[None, :].repeat(len(side1), axis=0)
        for side in (side1, side2):
            _, sums = self.look_up(side)
            rows = sums.sum(axis=1, keepdims=True)
            smoothed = (sums + PSEUDO_ROWS * base) / (rows + PSEUDO_ROWS)
            logits += np.log(smoothed) - np.log(base)
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return odds / odds.sum(axis=1, keepdims=True)

    def numbers(self, side1: pa.Array, side2: pa.Array) -> np.ndarray:
        """The mean label of the two sentences, for number labels: float64 [n]."""
        base = self.total[1] / max(self.total[0], 1)
        means = [
            (sums[:, 1] + PSEUDO_ROWS * base) / (sums[:, 0] + PSEUDO_ROWS)
            for sums in (self.look_up(side)[1] for side in (side1, side2))
        ]
        return np.mean(means, axis=0)


def _grouped(hashes: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    distinct, place = np.unique(hashes, return_inverse=True)
    sums = [np.bincount(place, column, minlength=len(distinct)) for column in rows.T]
    return distinct, np.stack(sums, axis=1)


def no_priors(classes: int | None) -> SentencePriors:
    """What is known where nothing was read; see `SentencePriors.count` for `classes`."""
    nothing = pa.array([], pa.large_string())
    return SentencePriors.count(nothing, nothing, np.zeros(0), classes)


def add_priors(parts: Iterable[SentencePriors], *, classes: int | None) -> SentencePriors:
    """All together."""
    parts = [no_priors(classes), *parts]
    hashes = np.concatenate([part.hashes for part in parts])
    sums = np.concatenate([part.sums for part in parts])
    total = np.sum([part.total for part in parts], axis=0)
    return SentencePriors(*_grouped(hashes, sums), total)


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
        counted.append(SentencePriors.count(side1, side2, numbers, classes))
    return add_priors(counted, classes=classes)


def _classes(labels: LabelRule) -> int | None:
    return len(labels.classes) if labels.classes else None


class CountSentences(beam.PTransform):
    """Shards of training pairs → one `SentencePriors`."""

    def __init__(self, columns: PairColumns, labels: LabelRule):
        super().__init__()
        self._columns, self._labels = columns, labels

    def expand(self, shards: beam.PCollection) -> beam.PCollection:
        return (
            shards
            | "Count shard" >> beam.Map(count_sentences, self._columns, self._labels)
            | "Add up" >> beam.CombineGlobally(add_priors, classes=_classes(self._labels))
        )
