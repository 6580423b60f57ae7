"""A bundle in Python: tables of pairs in, the similarities and labels of the pipeline out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from model.scoring.bundle_scorer import BundleScorer
from model.scoring.scorer_options import ScorerOptions
from transforms.errors import UserError
from transforms.pairs import REJECT_REASON, PairColumns, check_schema, split_rows
from twinbeam.tables import as_arrow, like

MAX_CHARS = 10_000  # as the pipeline's --max_sentence_chars
_ROW = "__row"


class Bundle:
    """An opened bundle. Safe to use from several threads."""

    def __init__(self, folder: str, threshold: float | None = None):
        """Opens it; see `twinbeam.load`."""
        scorer = BundleScorer(folder.rstrip("/"), ScorerOptions(threshold=threshold))
        self.manifest: dict[str, Any] = scorer.verify()
        self._scorer = scorer.load()

    @property
    def threshold(self) -> float | None:
        """From which similarity on the label is 1; None for recipes without one."""
        return self.manifest.get("threshold")

    def score(
        self,
        pairs: Any,
        sentence1: str | Sequence[str | None] = "sentence1",
        sentence2: str = "sentence2",
    ) -> Any:
        """Scores pairs.

        Args:
            pairs: a pandas or Polars data frame, an Arrow table or batch, a mapping of columns, or
                a list of pairs of sentences; or a list of first sentences, with the second ones
                as the next argument.
            sentence1: name of the column of first sentences, or a list of second sentences.
            sentence2: name of the column of second sentences.

        Returns:
            One row for each pair, in the kind of table that was given (Arrow for lists):
            `similarity` (float32), `similarity_label`, a probability for each class where there are
            several, and `reject_reason`: null, or why there is no score (`sentence_null`,
            `sentence_blank`, `sentence_too_long`, …).

        Raises:
            UserError: a column is missing or is no text.
        """
        if not isinstance(sentence1, str):
            pairs = {"sentence1": list(pairs), "sentence2": list(sentence1)}
            sentence1 = "sentence1"
        columns = PairColumns(sentence1, sentence2)
        batch = as_arrow(pairs, columns.sides)
        check_schema(batch.schema, columns, "the table")
        return like(pairs, self._score(batch, columns))

    def _score(self, batch: pa.RecordBatch, columns: PairColumns) -> pa.Table:
        rows = batch.num_rows
        batch = batch.append_column(_ROW, pa.array(range(rows), pa.int64()))
        good, rejected = split_rows(batch, columns, max_chars=MAX_CHARS)
        found: dict[str, pa.Array] = {}
        scored = self._columns(good, columns)
        for field, column in zip(self._scorer.fields, scored, strict=True):
            found[field.name] = _placed(column, good.column(_ROW), rows, field.type)
        found[REJECT_REASON] = _placed(
            rejected.column(REJECT_REASON), rejected.column(_ROW), rows, pa.string()
        )
        return pa.table(found)

    def _columns(self, good: pa.RecordBatch, columns: PairColumns) -> list[pa.Array]:
        if not good.num_rows:
            return [pa.array([], field.type) for field in self._scorer.fields]
        sides = [good.column(name).cast(pa.large_string()) for name in columns.sides]
        scored: list[pa.Array] = self._scorer.score(*sides)[0]
        return scored

    def encode(self, sentences: Iterable[str]) -> np.ndarray:
        """The vectors of sentences.

        Args:
            sentences: a list, a NumPy array, a pandas or Polars series or an Arrow array;
                equal ones are encoded once.

        Returns:
            float32 [n, d], a row for each sentence.

        Raises:
            UserError: a sentence is missing or blank.
        """
        texts = [None if text is None else str(text) for text in _listed(sentences)]
        for place, text in enumerate(texts):
            if not text or not text.strip():
                raise UserError(f"sentence {place} is {'blank' if text is not None else 'null'}")
        distinct, places = np.unique(np.array(texts, object), return_inverse=True)
        if not len(distinct):
            return np.zeros((0, self._scorer.dimensions), np.float32)
        return self._scorer.encode(distinct.tolist())[places]


def _placed(column: pa.Array, rows: pa.Array, total: int, kind: pa.DataType) -> pa.Array:
    """The values of some rows at their places among all rows, null elsewhere."""
    places = np.full(total, -1)
    places[rows.to_numpy()] = np.arange(len(rows))
    return column.cast(kind).take(pa.array(places, mask=places < 0))


def _listed(sentences: Any) -> list[Any]:
    if isinstance(sentences, str | Mapping):
        raise UserError("expected several sentences, received one; give [sentence]")
    for method in ("to_pylist", "to_list", "tolist"):
        if hasattr(sentences, method):
            return list(getattr(sentences, method)())
    return list(sentences)
