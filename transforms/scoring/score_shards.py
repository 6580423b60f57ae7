"""Scores a shard: reads its rows, rejects the unusable, scores the rest, writes both, accounts.

`score_shard` does the work; `ScoreShards` wires it into a Beam pipeline and counts. The model
comes in from outside as a scorer, so this module knows none.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Protocol

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics import Metrics
from apache_beam.utils.shared import Shared

from transforms.accounts.claims import Claim
from transforms.accounts.shard_account import (
    ShardAccount,
    find_account,
    rejects_name,
    write_account,
)
from transforms.accounts.shard_writer import ShardWriter
from transforms.drift import Profile, add_up
from transforms.errors import RunError, UserError, one_line
from transforms.input.read_shards import ShardReader
from transforms.input.shards import Shard
from transforms.output_schema import extended_schema
from transforms.pairs import (
    PairColumns,
    cut_sentences,
    reject_reasons,
    rejected_schema,
    split_rows,
    with_reject,
)
from transforms.scoring.encode_once import Vectors

MODEL_FAILED = "model_failed"
MAX_FAILED_ROWS = 100
_METRICS = "twinbeam"


class Scorer(Protocol):
    """What scores pairs: the engine over a bundle, or a fake in a test."""

    fields: tuple[pa.Field, ...]

    def score(self, side1: pa.Array, side2: pa.Array) -> tuple[list[pa.Array], dict[str, int]]:
        """Scores pairs of sentences.

        Args:
            side1: first sentences, large_string [n], no nulls, n > 0.
            side2: second sentences, large_string [n], no nulls.

        Returns:
            One array [n] for each of `fields`, and counts to add to the accounts.
        """
        ...

    def with_vectors(self, vectors: Sequence[Vectors]) -> Scorer:
        """The same scorer, with vectors of sentences it need not encode."""
        ...


@dataclass(frozen=True)
class ScoreSettings:
    """What determines a shard's output, apart from its rows and the scorer.

    Attributes:
        claim: the run's claim to the output folder.
        run_key: see `transforms.accounts.shard_account.run_key`.
        columns: names of the sentence columns.
        max_chars: characters of the longest sentence that is not truncated.
        truncate: score the beginning of a longer sentence; else its row is rejected.
        redact: keep what the model says of a row that it failed on out of details and errors,
            for it may quote the row.
        compression: codec of the files written.
    """

    claim: Claim
    run_key: str
    columns: PairColumns = field(default_factory=PairColumns)
    max_chars: int = 10_000
    truncate: bool = False
    redact: bool = True
    compression: str = "zstd"


def score_shard(shard: Shard, scorer: Scorer, settings: ScoreSettings) -> ShardAccount:
    """Scores one shard into its final files and leaves its account; doing it twice is harmless.

    Raises:
        RunError: the input changed, the model fails on many rows, or the accounts do not add up.
    """
    started = time.time()
    reasons: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    profiles: list[Profile] = []
    rows_in = 0
    with ExitStack() as stack:
        reader = stack.enter_context(ShardReader(shard))
        how = settings.compression, reader.times_in_utc
        scores, rejects = (
            stack.enter_context(ShardWriter(settings.claim, name, kind, shard.source, *how))
            for name, kind in (
                (shard.name, scored_schema(reader.schema, scorer)),
                (rejects_name(shard.name), rejected_schema(reader.schema)),
            )
        )
        for batch in reader.batches():
            rows_in += batch.num_rows
            good, bad = split_rows(
                batch, settings.columns, max_chars=settings.max_chars, truncate=settings.truncate
            )
            outcome = score_rows(good, scorer, settings)
            if outcome.scored:  # in one piece: halving must not show in the bytes
                scored = pa.concat_batches(outcome.scored)
                scores.write(scored)
                profiles.append(_profile(scored, scorer, settings))
            for part in (bad, *outcome.failed):
                rejects.write(part)
                reasons.update(reject_reasons(part))
            counts.update(outcome.counts)
        done = find_account(settings.claim.folder, shard, settings.run_key)
        if done:  # another attempt was faster; its files stay
            return done
        written = [scores.finish(), *([rejects.finish()] if rejects.rows else [])]
    account = ShardAccount(
        shard=shard.to_json(),
        run_key=settings.run_key,
        rows_in=rows_in,
        rows_scored=scores.rows,
        rows_rejected=rejects.rows,
        rejected_by_reason=dict(reasons),
        counts=dict(counts),
        files=tuple(written),
        started=started,
        finished=time.time(),
        profile=add_up(profiles),
    )
    write_account(settings.claim, account)
    return account


def _profile(scored: pa.RecordBatch, scorer: Scorer, settings: ScoreSettings) -> Profile:
    """What drift is computed from; nothing where the scorer does not profile."""
    profile = getattr(scorer, "profile", None)
    if profile is None:
        return {}
    sides, _ = cut_sentences(scored, settings.columns, settings.max_chars)
    return profile(*sides, scored.column(scorer.fields[0].name))


def scored_schema(schema: pa.Schema, scorer: Scorer) -> pa.Schema:
    """The schema of scored rows: the input's, then the scorer's columns."""
    return extended_schema(schema, scorer.fields)


@dataclass
class Outcome:
    """The good rows of a batch: those scored, those that failed in the model, and counts."""

    scored: list[pa.RecordBatch] = field(default_factory=list)
    failed: list[pa.RecordBatch] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def score_rows(batch: pa.RecordBatch, scorer: Scorer, settings: ScoreSettings) -> Outcome:
    """Scores a batch of good rows; where the model fails, halves it until the guilty row is alone.

    Halving also answers a batch that does not fit in memory.

    Raises:
        RunError: more rows fail alone than bad rows explain, so the model is at fault.
    """
    outcome = Outcome()
    pending = [batch] if batch.num_rows else []
    while pending:
        part = pending.pop()
        try:
            outcome.scored.append(_scored(part, scorer, settings, outcome.counts))
        except (UserError, RunError):
            raise
        except Exception as error:
            if part.num_rows > 1:
                half = part.num_rows // 2
                pending += [part.slice(half), part.slice(0, half)]
                continue
            reason = _reason(error, settings)
            outcome.failed.append(with_reject(part, MODEL_FAILED, reason))
            if len(outcome.failed) > MAX_FAILED_ROWS:
                raise RunError(
                    f"the model failed on {len(outcome.failed)} rows one by one, at last: {reason}"
                ) from None
    return outcome


def _scored(
    batch: pa.RecordBatch, scorer: Scorer, settings: ScoreSettings, counts: Counter[str]
) -> pa.RecordBatch:
    (side1, side2), cut = cut_sentences(batch, settings.columns, settings.max_chars)
    arrays, counted = scorer.score(side1, side2)
    counts.update(counted)
    if settings.truncate:
        counts["sentences_truncated"] += cut
    return pa.RecordBatch.from_arrays(
        [*batch.columns, *arrays], schema=scored_schema(batch.schema, scorer)
    )


def _reason(error: Exception, settings: ScoreSettings) -> str:
    kind = type(error).__name__
    return kind if settings.redact else f"{kind}: {one_line(error)}"


class ScoreShards(beam.PTransform):
    """(shard, vectors known) → the shard's account; the scored rows go to files on the way.

    Args:
        load_scorer: called once in each worker process; picklable.
        settings: what decides the output.
        shared: holds the one copy of the model in a process.
    """

    def __init__(
        self, load_scorer: Callable[[], Scorer], settings: ScoreSettings, *, shared: Shared
    ):
        super().__init__()
        self._work = _ScoreShard(load_scorer, settings, shared)

    def expand(self, shards: beam.PCollection) -> beam.PCollection:
        return shards | "Score shard" >> beam.ParDo(self._work)


class _ScoreShard(beam.DoFn):
    def __init__(self, load_scorer: Callable[[], Scorer], settings: ScoreSettings, shared: Shared):
        self._load_scorer = load_scorer
        self._settings = settings
        self._shared = shared

    def setup(self) -> None:
        self._scorer = self._shared.acquire(self._load_scorer, tag="model")

    def process(self, work: tuple[Shard, Sequence[Vectors]]) -> Iterator[ShardAccount]:
        shard, vectors = work
        scorer = self._scorer.with_vectors(vectors) if vectors else self._scorer
        done = find_account(self._settings.claim.folder, shard, self._settings.run_key)
        account = done or score_shard(shard, scorer, self._settings)
        counts = {
            "rows_in": account.rows_in,
            "rows_scored": account.rows_scored,
            "rows_rejected": account.rows_rejected,
            "shards": 1,
            **{f"rejected_{reason}": rows for reason, rows in account.rejected_by_reason.items()},
            **account.counts,
        }
        for name, count in counts.items():
            Metrics.counter(_METRICS, name).inc(count)
        milliseconds = int(1000 * (account.finished - account.started))
        Metrics.distribution(_METRICS, "shard_milliseconds").update(milliseconds)
        yield account
