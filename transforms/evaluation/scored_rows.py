"""Reads scored, labelled rows for an evaluation: true labels, predicted labels, scores."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.columns import plain
from transforms.labels import LabelRule, parse_labels
from transforms.pairs import PairColumns, keep_rows, reject_reasons, sentences, split_rows

SIMILARITY_NULL = "similarity_null"
PREDICTED_INVALID = "predicted_label_invalid"
_NO_LIMIT = 1 << 31
_AS_NUMBERS = LabelRule(("0", "1"))

Task = Literal["binary", "regression", "classes"]


@dataclass(frozen=True)
class ScoredColumns:
    """Where an evaluation finds things, and what they mean.

    Attributes:
        pairs: the sentences and the label.
        task: two classes, number labels, or more classes.
        labels: how labels are read.
        similarity: column of the similarity.
        predicted: column of the label that scoring gave; None where `threshold` gives it.
        threshold: label 1 from this similarity on, in place of `predicted`.
        slices: columns by which the measures are broken down.
        id: column that names a row among the mistakes; None for none.
    """

    pairs: PairColumns = field(default_factory=lambda: PairColumns(label="label"))
    task: Task = "binary"
    labels: LabelRule = _AS_NUMBERS
    similarity: str = "similarity"
    predicted: str | None = "similarity_label"
    threshold: float | None = None
    slices: tuple[str, ...] = ()
    id: str | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; none for number labels."""
        return self.labels.classes or ()

    def needed(self) -> list[str]:
        """All columns that are read, each once."""
        assert self.pairs.label is not None
        names = [*self.pairs.sides, self.pairs.label, self.similarity, *self.slices]
        if self.predicted is not None and self.task != "regression":
            names.append(self.predicted)
        if self.task == "classes":
            names += [f"probability_{name}" for name in self.classes]
        if self.id is not None:
            names.append(self.id)
        return list(dict.fromkeys(names))


@dataclass(frozen=True)
class ScoredRows:
    """Rows that can be judged.

    Attributes:
        batch: as they were read.
        side1: first sentences [n].
        side2: second sentences [n].
        actual: class index or number, float64 [n].
        score: similarity, float64 [n].
        predicted: class index, int64 [n]; empty for number labels.
        probabilities: of all classes [n, classes]; [n, 0] where the task is another.
    """

    batch: pa.RecordBatch
    side1: pa.Array
    side2: pa.Array
    actual: np.ndarray
    score: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray


def read_scored(batch: pa.RecordBatch, columns: ScoredColumns) -> tuple[ScoredRows, Counter[str]]:
    """Parts a batch into rows to judge and counts of those that cannot be, by reason."""
    good, bad = split_rows(batch, columns.pairs, max_chars=_NO_LIMIT, labels=columns.labels)
    skipped = Counter(reject_reasons(bad))
    score = _numbers(good.column(columns.similarity))
    predicted = _predicted(good, score, columns)
    scored, called = np.isfinite(score), predicted >= 0
    skipped[SIMILARITY_NULL] += int((~scored).sum())
    skipped[PREDICTED_INVALID] += int((scored & ~called).sum())
    keep = scored & called
    return _rows(keep_rows(good, keep), score[keep], predicted[keep], columns), +skipped


def _rows(
    good: pa.RecordBatch, score: np.ndarray, predicted: np.ndarray, columns: ScoredColumns
) -> ScoredRows:
    actual = parse_labels(good.column(columns.pairs.label), columns.labels)
    side1, side2 = (sentences(good, name) for name in columns.pairs.sides)
    probabilities = np.empty((len(score), 0))
    if columns.task == "classes":
        named = [good.column(f"probability_{name}") for name in columns.classes]
        probabilities = np.stack([_numbers(column) for column in named], axis=1)
    return ScoredRows(good, side1, side2, _numbers(actual), score, predicted, probabilities)


def _numbers(array: pa.Array) -> np.ndarray:
    return pc.fill_null(plain(array).cast(pa.float64(), safe=False), np.nan).to_numpy(
        zero_copy_only=False
    )


def _predicted(batch: pa.RecordBatch, score: np.ndarray, columns: ScoredColumns) -> np.ndarray:
    """Class indices, -1 where the label that was given is none of the classes."""
    if columns.task == "regression":
        return np.zeros(len(score), np.int64)
    if columns.predicted is None:
        # In float32, as scoring compares: in float64 a row on the threshold might fall beside it.
        return (score.astype(np.float32) >= np.float32(columns.threshold)).astype(np.int64)
    given = batch.column(columns.predicted)
    found = parse_labels(given, columns.labels)
    # Scoring writes 0 and 1, whatever the names of the two classes.
    if columns.task == "binary" and found.null_count:
        found = pc.coalesce(found, parse_labels(given, _AS_NUMBERS))
    return pc.fill_null(found, -1).to_numpy(zero_copy_only=False).astype(np.int64)
