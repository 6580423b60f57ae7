"""Judges scored rows, shard by shard: counts that add up, and the few worst mistakes.

`evaluate_shard` does the work; `EvaluateShards` wires it. No row outlives its batch but the worst.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from transforms.evaluation.class_metrics import ClassTally
from transforms.evaluation.histograms import ScoreHistogram
from transforms.evaluation.regression_metrics import JointHistogram
from transforms.evaluation.scored_rows import ScoredColumns, ScoredRows, read_scored
from transforms.evaluation.sentence_priors import SentencePriors
from transforms.evaluation.slices import FindUnknown, Slice, check_values, slices
from transforms.input.read_shards import read_shard
from transforms.input.shards import Shard

Tally = ScoreHistogram | JointHistogram | ClassTally
ALL: Slice = ("all", "all")
PRIOR: Slice = ("baseline", "sentence_prior")


@dataclass(frozen=True)
class EvaluationSettings:
    """What is measured.

    Attributes:
        columns: where things are.
        score_range: least and greatest score, for number labels.
        worst: how many mistakes of each kind are kept; 0 where sentences must not be shown.
    """

    columns: ScoredColumns = field(default_factory=ScoredColumns)
    score_range: tuple[float, float] = (0.0, 1.0)
    worst: int = 20


@dataclass(frozen=True)
class EvaluationCounts:
    """What is known of some rows.

    Attributes:
        tallies: counts of all rows, of each slice and of the baseline.
        skipped: rows that could not be judged, by reason.
        worst: the greatest mistakes by kind, the greatest first.
    """

    tallies: dict[Slice, Tally] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)
    worst: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """How many rows were judged."""
        return self.tallies[ALL].rows if ALL in self.tallies else 0


def evaluate_shard(
    shard: Shard,
    settings: EvaluationSettings,
    priors: SentencePriors | None = None,
    find_unknown: FindUnknown | None = None,
) -> EvaluationCounts:
    """Judges the rows of one shard."""
    batches = read_shard(shard, columns=settings.columns.needed())
    judged = (evaluate_batch(batch, settings, priors, find_unknown) for batch in batches)
    return add_up(judged, keep=settings.worst)


def evaluate_batch(
    batch: Any,
    settings: EvaluationSettings,
    priors: SentencePriors | None = None,
    find_unknown: FindUnknown | None = None,
) -> EvaluationCounts:
    """Judges the rows of one Arrow batch."""
    rows, skipped = read_scored(batch, settings.columns)
    everything = np.ones(len(rows.score), bool)
    tallies = {ALL: tally(rows, everything, settings)}
    for name, mask in slices(rows, settings.columns.slices, priors, find_unknown):
        tallies[name] = tally(rows, mask, settings)
    if priors is not None:
        tallies[PRIOR] = tally(_guessed(rows, priors, settings), everything, settings)
    return EvaluationCounts(tallies, skipped, worst_of(rows, settings) if settings.worst else {})


def tally(rows: ScoredRows, mask: np.ndarray, settings: EvaluationSettings) -> Tally:
    """Counts the rows under a mask, in the way of the task."""
    score, actual, predicted = rows.score[mask], rows.actual[mask], rows.predicted[mask]
    if settings.columns.task == "binary":
        return ScoreHistogram.count(score, actual > 0, predicted > 0)
    if settings.columns.task == "classes":
        return ClassTally.count(rows.probabilities[mask], actual, predicted)
    labels = settings.columns.labels
    label_range = (float(labels.minimum or 0.0), float(labels.maximum or 1.0))
    return JointHistogram.count(
        score, actual, score_range=settings.score_range, label_range=label_range
    )


def _guessed(rows: ScoredRows, priors: SentencePriors, settings: EvaluationSettings) -> ScoredRows:
    """The rows as the baseline that never compares would have scored them."""
    sides = (rows.side1, rows.side2)
    if settings.columns.task == "regression":
        return ScoredRows(
            rows.batch,
            *sides,
            rows.actual,
            priors.numbers(*sides),
            rows.predicted,
            rows.probabilities,
        )
    chances = priors.class_probabilities(*sides)
    return ScoredRows(
        rows.batch, *sides, rows.actual, chances[:, -1], chances.argmax(axis=1), chances
    )


def worst_of(rows: ScoredRows, settings: EvaluationSettings) -> dict[str, list[dict[str, Any]]]:
    """The greatest mistakes among the rows, by kind."""
    if settings.columns.task == "regression":
        error = rows.score - rows.actual
        kinds = {"too high": (error > 0, error), "too low": (error < 0, -error)}
    elif settings.columns.task == "classes":
        confidence = rows.probabilities[np.arange(len(rows.score)), rows.predicted]
        kinds = {"wrong class": (rows.predicted != rows.actual, confidence)}
    else:
        kinds = {
            "false positives": ((rows.predicted == 1) & (rows.actual == 0), rows.score),
            "false negatives": ((rows.predicted == 0) & (rows.actual == 1), -rows.score),
        }
    return {
        kind: _greatest(_mistakes(rows, wrong, size, settings), settings.worst)
        for kind, (wrong, size) in kinds.items()
    }


def _mistakes(
    rows: ScoredRows, wrong: np.ndarray, size: np.ndarray, settings: EvaluationSettings
) -> list[dict[str, Any]]:
    # More than are kept, since pairs that occur several times are merged only by `_greatest`.
    places = np.flatnonzero(wrong)
    places = places[np.argsort(-size[places], kind="stable")][: 4 * settings.worst]
    classes, id_column = settings.columns.classes, settings.columns.id

    def name(value: float) -> str | float:
        return classes[int(value)] if classes else round(float(value), 6)

    return [
        {
            "size": float(size[place]),
            "sentence1": rows.side1[place].as_py(),
            "sentence2": rows.side2[place].as_py(),
            "similarity": round(float(rows.score[place]), 6),
            "label": name(rows.actual[place]),
        }
        | ({"given": name(rows.predicted[place])} if classes else {})
        | ({"id": _format_id(rows.batch.column(id_column)[place])} if id_column else {})
        for place in places.tolist()
    ]


def _format_id(value: pa.Scalar) -> str | None:
    """What names a row, as text."""
    found = value.as_py()
    if isinstance(found, bytes):
        return found.decode(errors="replace")
    return None if found is None else str(found)


def _greatest(mistakes: list[dict[str, Any]], keep: int) -> list[dict[str, Any]]:
    """The greatest, each pair once, in an order that does not depend on how they came.

    A mirrored pair with the same similarity is the same pair; of several rows the first id is kept.
    """
    distinct: dict[tuple[str, str, float], dict[str, Any]] = {}
    for one in sorted(mistakes, key=lambda one: str(one.get("id"))):
        low, high = sorted((one["sentence1"], one["sentence2"]))
        distinct.setdefault((low, high, one["similarity"]), one)
    return sorted(
        distinct.values(), key=lambda one: (-one["size"], one["sentence1"], one["sentence2"])
    )[:keep]


def add_up(parts: Iterable[EvaluationCounts], *, keep: int) -> EvaluationCounts:
    """All parts together.

    Raises:
        UserError: a slice column has too many values.
    """
    tallies: dict[Slice, Tally] = {}
    skipped: Counter[str] = Counter()
    worst: dict[str, list[dict[str, Any]]] = {}
    for part in parts:
        for name, counted in part.tallies.items():
            tallies[name] = _both(tallies[name], counted) if name in tallies else counted
        skipped.update(part.skipped)
        for kind, mistakes in part.worst.items():
            worst[kind] = _greatest([*worst.get(kind, []), *mistakes], keep)
    for by, values in Counter(by for by, _ in tallies).items():
        check_values(by, values)
    return EvaluationCounts(tallies, skipped, worst)


def _both(left: Any, right: Any) -> Tally:
    return left + right  # of one kind: the task decides it


class EvaluateShards(beam.PTransform):
    """Shards → one `EvaluationCounts` of all their rows.

    Args:
        settings: what is measured.
        priors: a singleton side input of `SentencePriors`, or None.
        load_unknown: called once in each worker; gives what finds unknown tokens, or None.
    """

    def __init__(
        self,
        settings: EvaluationSettings,
        priors: Any = None,
        load_unknown: Callable[[], FindUnknown] | None = None,
    ):
        super().__init__()
        self._settings, self._priors, self._load_unknown = settings, priors, load_unknown

    def expand(self, shards: beam.PCollection) -> beam.PCollection:
        judge = beam.ParDo(_EvaluateShard(self._settings, self._load_unknown), self._priors)
        total = beam.CombineGlobally(add_up, keep=self._settings.worst)
        return shards | "Judge shard" >> judge | "Add up" >> total


class _EvaluateShard(beam.DoFn):
    def __init__(
        self, settings: EvaluationSettings, load_unknown: Callable[[], FindUnknown] | None
    ):
        self._settings, self._load_unknown = settings, load_unknown
        self._find_unknown: FindUnknown | None = None

    def setup(self) -> None:
        if self._load_unknown is not None:
            self._find_unknown = self._load_unknown()

    def process(self, shard: Shard, priors: SentencePriors | None) -> Iterator[EvaluationCounts]:
        yield evaluate_shard(shard, self._settings, priors, self._find_unknown)
