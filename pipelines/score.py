"""Scores Parquet of sentence pairs with a bundle: the same rows, a similarity and a label.

Local: python -m pipelines.score --input 'pairs/*.parquet' --model bundle --output scores
Dataflow: the same with --runner=DataflowRunner --project=… --region=… --temp_location=gs://…
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any, Literal

import apache_beam as beam
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.utils.shared import Shared

from model.handler import BundleScorer, ScoreOptions
from pipelines import dataflow, dataflow_jobs, estimate, options
from pipelines.progress import show_progress
from pipelines.running import running
from transforms import blocks, drift, files, ledger
from transforms.drift_page import drift_page
from transforms.embedding_store import EmbeddingStore
from transforms.encode_once import EncodeOnce, bucket_count
from transforms.errors import RunError, UserError
from transforms.lock import lock
from transforms.pairs import REJECT_FIELDS, PairColumns
from transforms.scoring import Scorer, ScoreSettings, ScoreShards
from transforms.shards import RejectedFile, Shard, plan

PACKAGES = ("apache-beam", "pyarrow", "tensorflow", "keras")
EXAMPLE = "python -m pipelines.score --input 'pairs/*.parquet' --model bundle --output scores"


@dataclass(frozen=True)
class ScoreRun:
    """All that a scoring run was asked for."""

    inputs: tuple[str, ...]
    model: str
    output: str
    columns: PairColumns = field(default_factory=PairColumns)
    scoring: ScoreOptions = field(default_factory=ScoreOptions)
    max_chars: int = options.DEFAULT_MAX_CHARS
    shard_rows: int = options.DEFAULT_SHARD_ROWS
    compression: str = "zstd"
    max_reject_fraction: float = 0.05
    max_drift: float | None = None
    on_long_sentence: Literal["reject", "truncate"] = "reject"
    on_bad_file: Literal["fail", "reject"] = "fail"
    redact: bool = True
    model_sha256: str | None = None
    overwrite: bool = False
    encode_once: Literal["shard", "global"] = "shard"
    embedding_store: str | None = None
    accelerator: str | None = None
    estimating: estimate.Asked = field(default_factory=estimate.Asked)
    beam_flags: tuple[str, ...] = ()

    def paths(self) -> list[str]:
        """Every path that workers use."""
        return [*self.inputs, self.model, self.output, *filter(None, [self.embedding_store])]

    def decides(self) -> dict[str, Any]:
        """The options that decide the bytes of the output."""
        return {
            "columns": [*self.columns.sides],
            "scoring": self.scoring.decides(),
            "max_sentence_chars": self.max_chars,
            "on_long_sentence": self.on_long_sentence,
            "redact": self.redact,
            "shard_rows": self.shard_rows,
            "compression": self.compression,
        }


def run(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Scores, and returns the manifest."""
    return score(parse(sys.argv[1:] if argv is None else argv))


def score(asked: ScoreRun) -> dict[str, Any]:
    """Plans, scores what is left to do, and commits.

    Raises:
        UserError: the input, the bundle, the output folder or a flag cannot be used.
        RunError: the run failed; what it finished is kept for the next one.
    """
    started = time.time()
    beam_options = options.beam_options(asked.beam_flags)
    dataflow.configure(
        beam_options, step="score", paths=asked.paths(), accelerator=asked.accelerator
    )
    scorer = BundleScorer(asked.model, asked.scoring)
    bundle = scorer.verify()
    check_pin(asked, bundle["fingerprint"])
    planned = plan(
        asked.inputs, asked.columns, shard_rows=asked.shard_rows, on_bad_file=asked.on_bad_file
    )
    shards = planned.shards
    if asked.estimating.wanted:
        return asdict(estimate.tell(asked.estimating, "score", shards, beam_options))
    check_output(asked, planned.schemas, scorer.fields(bundle))
    encode_once = plan_encoding(asked, bundle, shards)
    key = ledger.run_key(bundle=bundle["fingerprint"], **asked.decides())
    decides = [key, *(shard.fingerprint for shard in shards)]
    if dataflow_jobs.adopt(beam_options, step="score", output=asked.output, decides=decides):
        return tell_result(asked.output)
    busy = f"{asked.output} is being written by another run; wait for it, or choose another folder"
    with lock(files.join(asked.output, ledger.LOCK), busy=busy):
        work = ledger.open_output(
            asked.output, shards, key, overwrite=asked.overwrite, rejected=planned.rejected
        )
        if work.committed:
            print(f"{asked.output} is complete already: same inputs, bundle and options")
            return ledger.read_manifest(asked.output)
        tell_plan(work, planned.rejected)
        name = ledger.begin(asked.output, shards, key)
        settings = ScoreSettings(
            asked.output,
            key,
            asked.columns,
            asked.max_chars,
            truncate=asked.on_long_sentence == "truncate",
            redact=asked.redact,
            compression=asked.compression,
        )
        header = {
            "bundle": {"path": asked.model, "fingerprint": bundle["fingerprint"]},
            "options": asked.decides(),
            "files_rejected": [asdict(file) for file in planned.rejected],
            "versions": {name: version(name) for name in PACKAGES},
        }
        parted = blocks.Blocks.of(asked.output, [shard.name for shard in shards])
        commit = Commit(
            asked.output,
            len(shards),
            tuple(shard.name for shard in shards) if parted.inline else (),
            header,
            asked.max_reject_fraction,
            started,
            trained=trained_profile(asked.model),
            max_drift=asked.max_drift,
            run=name,
        )
        with show_progress(asked.output, work):
            run_pipeline(
                work,
                scorer.load,
                settings,
                commit,
                beam_options,
                parted=parted,
                encode_once=encode_once,
            )
    return {} if dataflow.only_staged(beam_options) else tell_result(asked.output)


def run_pipeline(
    work: ledger.Work,
    load_scorer: Callable[[], Scorer],
    settings: ScoreSettings,
    commit: Commit,
    beam_options: PipelineOptions,
    *,
    parted: blocks.Blocks,
    encode_once: EncodePlan | None = None,
) -> None:
    """The graph: shards → scored files → accounts → blocks of accounts → the commit.

    With a plan to encode once, the vectors of all distinct sentences are made before.
    """
    shared = Shared()
    with running(beam_options) as pipeline:
        planned = pipeline | "Plan" >> blocks.ListShards(settings.output, "new", work.todo)
        done = pipeline | "Plan done before" >> blocks.ListShards(
            settings.output, "done", work.done
        )
        if encode_once is None:
            given = planned | "Bring no vectors" >> beam.Map(lambda shard: (shard, ()))
            counts = pipeline | "Count none" >> beam.Create([])
        else:
            encoded = planned | "Encode once" >> EncodeOnce(
                load_scorer,
                shared=shared,
                columns=settings.columns,
                max_chars=settings.max_chars,
                truncate=settings.truncate,
                buckets=encode_once.buckets,
                store=encode_once.store,
            )
            given, counts = encoded["shards"], encoded["counts"]
        accounts = given | "Score shards" >> ScoreShards(load_scorer, settings, shared=shared)
        parts = (
            (
                accounts | "New" >> beam.Map(lambda account: (True, account)),
                done | "Read accounts" >> beam.Map(blocks.read_done, settings.output),
            )
            | "All accounts" >> beam.Flatten()
            | "Add up accounts" >> blocks.AddUpAccounts(parted)
        )
        (
            pipeline
            | "Once" >> beam.Create([None])
            | "Commit"
            >> beam.Map(commit, parts=beam.pvalue.AsIter(parts), encoded=beam.pvalue.AsIter(counts))
        )


@dataclass(frozen=True)
class EncodePlan:
    """How the distinct sentences of the whole input are encoded: in buckets, with a store."""

    buckets: int
    store: EmbeddingStore | None = None


@dataclass(frozen=True)
class Commit:
    """Commits the run in a worker, so it happens even where the launcher has gone.

    Attributes:
        output: the output folder.
        shards: how many shards the plan has.
        names: their names, where the manifest itself lists the files.
        header: what the manifest says besides the accounts.
        max_reject_fraction: of rows; with more the run fails.
        started: when the run began.
        trained: what drift is told against.
        max_drift: with more the run fails.
        run: the name that `ledger.begin` gave.
    """

    output: str
    shards: int
    names: tuple[str, ...]
    header: dict[str, Any]
    max_reject_fraction: float
    started: float
    trained: drift.Profile = field(default_factory=dict)
    max_drift: float | None = None
    run: str | None = None

    def __call__(self, _: None, parts: Any, encoded: Any) -> dict[str, Any]:
        """Commits the accounts of earlier runs and of this one.

        Args:
            _: nothing.
            parts: blocks of all shards of the plan.
            encoded: counts of sentences that were encoded for all shards together.
        """
        whole = blocks.merge(parts)
        missing = 0 if self.names else self.shards - whole.shards
        ledger.check_complete(self.names, whole.names, missing)
        drifted = self._drift(whole.profile)
        return ledger.publish(
            self.output,
            whole.summary,
            header={
                **self.header,
                "drift": drifted,
                "rows_this_run": whole.fresh_rows,
                "shards_this_run": whole.fresh_shards,
                **_times(whole, self.started),
            },
            more_counts=list(encoded),
            max_reject_fraction=self.max_reject_fraction,
            run=self.run,
        )

    def _drift(self, scored: drift.Profile) -> dict[str, float]:
        found = drift.drift(self.trained, scored)
        if found:
            page = drift_page(self.trained, scored, found)
            files.write_bytes(files.join(self.output, ledger.DRIFT_PAGE), page.encode())
        if self.max_drift is not None and found.get("drift", 0.0) > self.max_drift:
            raise RunError(
                f"{drift.told(found)}, more than --max_drift {self.max_drift} allows; not "
                f"committed, see {ledger.DRIFT_PAGE}: train on pairs like these, or raise "
                "--max_drift and run again"
            )
        return found


def trained_profile(bundle: str) -> drift.Profile:
    """What the bundle's metrics keep of its training data; nothing in bundles without it."""
    path = files.join(bundle, "metrics.json")
    return files.read_json(path).get("profile", {}) if files.exists(path) else {}


def _times(whole: blocks.Block, started: float) -> dict[str, float]:
    """How long the run took, and how much of it was start-up and how much scoring."""
    seconds = time.time() - started
    first, last = (whole.first, whole.last) if whole.fresh_shards else (started, started)
    return {
        "seconds": round(seconds, 3),
        "seconds_startup": round(first - started, 3),
        "seconds_scoring": round(last - first, 3),
        "pairs_per_second": round(whole.fresh_rows / seconds, 1),
    }


def plan_encoding(
    asked: ScoreRun, bundle: dict[str, Any], shards: Sequence[Shard]
) -> EncodePlan | None:
    """Whether and how sentences are encoded once for the whole input.

    Raises:
        UserError: the embedding store is another bundle's, or needs the other plan.
    """
    if asked.encode_once == "shard":
        if asked.embedding_store:
            raise UserError(
                "--embedding_store goes with --encode_once=global; each sentence is then looked up "
                "and encoded once a run"
            )
        return None
    store = None
    if asked.embedding_store:
        store = EmbeddingStore(asked.embedding_store, bundle["fingerprint"], bundle["dimensions"])
        store.open()
    return EncodePlan(bucket_count(sum(shard.rows for shard in shards)), store)


def check_pin(asked: ScoreRun, fingerprint: str) -> None:
    """Checks that the bundle is the one that was asked for.

    Raises:
        UserError: it is another one.
    """
    if asked.model_sha256 not in (None, fingerprint):
        raise UserError(
            f"{asked.model} has the fingerprint {fingerprint}, expected --model_sha256 "
            f"{asked.model_sha256}; it is another bundle than the one that was pinned"
        )


def check_output(asked: ScoreRun, schemas: dict[str, pa.Schema], added: Sequence[pa.Field]) -> None:
    """Checks that nothing the run writes clashes with what it reads.

    Raises:
        UserError: names the clash and the flag that mends it.
    """
    flags = {
        asked.scoring.similarity_column: "--similarity_column",
        asked.scoring.label_column: "--similarity_label_column",
    }
    for source, schema in schemas.items():
        if files.is_inside(source, asked.output):
            raise UserError(
                f"--output {asked.output} holds the input {source}; choose another folder"
            )
        names = set(schema.names)
        for new in (*added, *REJECT_FIELDS):
            if new.name in names:
                mend = flags.get(new.name)
                raise UserError(
                    f"{source} has a column {new.name!r} already; "
                    + (f"choose another name with {mend}" if mend else "rename it first")
                )


def tell_plan(work: ledger.Work, rejected: Sequence[RejectedFile]) -> None:
    """Says what there is to do, and what is left out."""
    options.tell_left_out(rejected)
    rows = sum(shard.rows for shard in work.todo)
    kept = f", {len(work.done)} shards done before" if work.done else ""
    print(f"{rows:,} rows in {len(work.todo)} shards to score{kept}", flush=True)


def tell_result(output: str) -> dict[str, Any]:
    """Says what was done and where it lies; returns the manifest."""
    manifest = ledger.read_manifest(output)
    reasons = ", ".join(f"{n:,} {reason}" for reason, n in manifest["rejected_by_reason"].items())
    print(
        f"{manifest['rows_in']:,} rows in = {manifest['rows_scored']:,} scored + "
        f"{manifest['rows_rejected']:,} rejected{f' ({reasons})' if reasons else ''}; "
        f"{manifest['sentences_encoded']:,} of {manifest['sentences']:,} sentences encoded; "
        f"{manifest['seconds']:.1f} s, {manifest['pairs_per_second']:,.0f} pairs/s\n"
        f"{drift.told(manifest.get('drift', {}))}\n"
        f"scores: {output}/*.parquet   manifest: {output}/{ledger.MANIFEST}"
        + (f"   drift: {output}/{ledger.DRIFT_PAGE}" if manifest.get("drift") else "")
    )
    return manifest


def flags() -> argparse.ArgumentParser:
    """All flags that are ours."""
    parser = options.parser("score", __doc__.splitlines()[0], EXAMPLE)
    options.add_input_flags(parser, label=None)
    add_flags(parser)
    dataflow.add_flags(parser)
    estimate.add_flags(parser)
    return parser


def parse(argv: Sequence[str]) -> ScoreRun:
    """Flags → what the run was asked for."""
    args, beam_flags = flags().parse_known_args(argv)
    return ScoreRun(
        inputs=tuple(args.input),
        model=args.model.rstrip("/"),
        output=args.output.rstrip("/"),
        columns=options.columns(args),
        scoring=ScoreOptions(
            similarity_column=args.similarity_column,
            label_column=args.similarity_label_column,
            threshold=args.threshold,
            embedding_cache_mb=args.embedding_cache_mb,
        ),
        max_chars=args.max_sentence_chars,
        shard_rows=args.shard_rows,
        compression=args.compression,
        max_reject_fraction=args.max_reject_fraction,
        max_drift=args.max_drift,
        on_long_sentence=args.on_long_sentence,
        on_bad_file=args.on_bad_file,
        redact=args.redact,
        model_sha256=args.model_sha256,
        overwrite=args.overwrite,
        encode_once=args.encode_once or ("global" if args.embedding_store else "shard"),
        embedding_store=args.embedding_store,
        accelerator=args.accelerator,
        estimating=estimate.Asked.of(args),
        beam_flags=tuple(beam_flags),
    )


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of scoring."""
    group = parser.add_argument_group("scoring")
    group.add_argument("--model", required=True, metavar="BUNDLE", help="folder of the bundle")
    group.add_argument(
        "--model_sha256", metavar="HEX", help="the fingerprint that the bundle has to have"
    )
    group.add_argument("--output", required=True, metavar="DIR", help="folder to write to")
    group.add_argument("--similarity_column", default="similarity", help="name of the similarity")
    group.add_argument(
        "--similarity_label_column", default="similarity_label", help="name of the label"
    )
    group.add_argument(
        "--threshold", type=float, help="label 1 from this similarity on (default: the bundle's)"
    )
    group.add_argument(
        "--embedding_cache_mb",
        type=int,
        default=256,
        help="memory of each worker process for vectors of sentences met before; 0 for none",
    )
    group.add_argument(
        "--encode_once",
        choices=("shard", "global"),
        help="encode each distinct sentence once a shard and cache, or once in the whole input "
        "(for heavy encoders); shard, but with --embedding_store global",
    )
    group.add_argument(
        "--embedding_store",
        metavar="DIR",
        help="keep vectors here and take them from here: a nightly run encodes only new sentences",
    )
    group.add_argument(
        "--max_reject_fraction",
        type=options.fraction,
        default=0.05,
        help="with more rejected rows than this the run fails and does not commit",
    )
    group.add_argument(
        "--max_drift",
        type=float,
        help="with a greater drift from the training data the run fails and does not commit; "
        f"{drift.LITTLE} is little, {drift.MUCH} much",
    )
    group.add_argument(
        "--on_long_sentence",
        choices=("reject", "truncate"),
        default="reject",
        help="whether the row of a longer sentence is rejected, or its beginning scored",
    )
    group.add_argument(
        "--redact",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="keep what the model says of rows it fails on, which may quote them, out of "
        "reject details and errors",
    )
    group.add_argument(
        "--compression",
        choices=("zstd", "snappy", "gzip", "lz4", "none"),
        default="zstd",
        help="codec of the Parquet that is written",
    )
    group.add_argument(
        "--overwrite", action="store_true", help="replace scores of another run in --output"
    )


def main() -> int:
    """The command line."""
    return options.run_main(run)


if __name__ == "__main__":
    raise SystemExit(main())
