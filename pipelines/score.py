"""Scores Parquet of sentence pairs with a bundle: the same rows, a similarity and a label.

Local: twinbeam score --input 'pairs/*.parquet' --model bundle --output scores
Dataflow: the same with --runner=DataflowRunner --project=… --region=… --temp_location=gs://…
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.utils.shared import Shared

from model.scoring.bundle_scorer import BundleScorer
from pipelines.dataflow import estimate, jobs
from pipelines.dataflow import settings as dataflow
from pipelines.options import beam_interface, command_line
from pipelines.options.score_options import ScoreOptions, parse
from pipelines.running import trained_on
from pipelines.running.commit_scores import Commit, trained_profile
from pipelines.running.phases import phase
from pipelines.running.progress import show_progress
from pipelines.running.run_graph import running
from transforms import drift
from transforms.accounts import blocks, output_folder, shard_account
from transforms.accounts.commit import judge_again
from transforms.accounts.list_shards import INLINE_SHARDS, ListShards, listing
from transforms.accounts.output_folder import claim_output
from transforms.errors import RunError, UserError
from transforms.input.shards import Plan, Shard, plan
from transforms.pairs import REJECT_FIELDS
from transforms.scoring.embedding_store import EmbeddingStore
from transforms.scoring.encode_once import EncodeOnce, bucket_count
from transforms.scoring.score_shards import ScoreShards
from transforms.storage import files
from transforms.versions import versions

PACKAGES = ("apache-beam", "pyarrow", "tensorflow", "keras")


def run(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Scores, and returns the manifest."""
    return score(parse(sys.argv[1:] if argv is None else argv))


def score(options: ScoreOptions) -> dict[str, Any]:
    """Plans, scores what is left to do, and commits.

    Raises:
        UserError: the input, the bundle, the output folder or a flag cannot be used.
        RunError: the run failed; what it finished is kept for the next one.
    """
    started = time.time()
    beam_options = configured(options)
    plan = plan_scores(options)
    shards = plan.input.shards
    if options.estimating.wanted:
        return asdict(estimate.print_estimate(options.estimating, "score", shards, beam_options))
    check_output(options, plan.input.schemas, plan.scorer.fields(plan.bundle))
    if jobs.adopt(beam_options, step="score", output=options.output, identity=plan.identity()):
        return print_result(options.output, plan.key)
    with claim_output(
        options.output, shards, plan.key,
        overwrite=options.overwrite, rejected=plan.input.rejected,
    ) as work:  # fmt: skip
        if work.committed:
            manifest = judge_again(options.output, options.gates)
            print(f"{options.output} is complete already: same inputs, bundle and options")
            return manifest
        print_plan(work, plan.input)
        if plan.inputs_seen:
            print(f"note: {trained_on.format_seen(plan.inputs_seen)}", flush=True)
        with show_progress(options.output, work):
            run_pipeline(plan, work, beam_options, started=started)
    return {} if dataflow.only_staged(beam_options) else print_result(options.output, plan.key)


def configured(options: ScoreOptions) -> PipelineOptions:
    """Beam's options, with what a job on Dataflow needs."""
    beam_options = beam_interface.beam_options(options.beam_flags)
    dataflow.configure(
        beam_options, step="score", paths=options.paths(), accelerator=options.accelerator
    )
    return beam_options


@dataclass(frozen=True)
class ScorePlan:
    """All that is known before a folder is claimed.

    Attributes:
        options: what the run was asked for.
        scorer: the bundle and how to score with it.
        bundle: its manifest.
        input: shards, schemas, and files left out.
        inputs_seen: names of input files that the bundle was trained on.
        encode_once: how sentences are encoded for the whole input; None for shard by shard.
        key: see `run_key`.
    """

    options: ScoreOptions
    scorer: BundleScorer
    bundle: dict[str, Any]
    input: Plan
    inputs_seen: list[str]
    encode_once: EncodePlan | None
    key: str

    def identity(self) -> list[str]:
        """All that decides what is written."""
        return [self.key, *(shard.fingerprint for shard in self.input.shards)]

    def header(self) -> dict[str, Any]:
        """What the manifest says besides the accounts."""
        return {
            "bundle": {
                "path": self.options.model,
                "fingerprint": self.bundle["fingerprint"],
            },
            "options": self.options.identity(),
            "run_key": self.key,
            trained_on.INPUTS_SEEN: self.inputs_seen,
            "files_rejected": [asdict(file) for file in self.input.rejected],
            "versions": versions(PACKAGES),
        }


def plan_scores(options: ScoreOptions) -> ScorePlan:
    """Checks the bundle, finds the input and cuts it into shards.

    Raises:
        UserError: one of them cannot be used.
    """
    scorer = BundleScorer(options.model, options.scoring)
    with phase("checking the bundle"):
        bundle = scorer.verify()
    command_line.check_pin(options.model, options.model_sha256, bundle["fingerprint"])
    check_threshold(options.scoring.threshold, bundle)
    planned = plan(
        options.inputs,
        options.columns,
        shard_rows=options.shard_rows,
        on_bad_file=options.on_bad_file,
        int96=options.int96,
        partition_columns=options.partition_columns,
    )
    inputs = {shard.source: shard.fingerprint for shard in planned.shards}
    seen = trained_on.inputs_trained_on(options.model, inputs)
    key = shard_account.run_key(
        bundle=bundle["fingerprint"], versions=versions(PACKAGES), **options.identity()
    )
    encode_once = plan_encoding(options, bundle, planned.shards)
    return ScorePlan(options, scorer, bundle, planned, seen, encode_once, key)


def run_pipeline(
    plan: ScorePlan, work: output_folder.Work, beam_options: PipelineOptions, *, started: float
) -> None:
    """The graph: shards → scored files → accounts → blocks of accounts → the commit.

    With a plan to encode once, the vectors of all distinct sentences are made before.
    """
    shared, load_scorer = Shared(), plan.scorer.load
    settings = plan.options.settings(work.claim, plan.key)
    names = [shard.name for shard in plan.input.shards]
    in_blocks = blocks.AccountBlocks.plan(work.claim, names)
    scratch = work.claim.scratch
    with running(beam_options) as pipeline:
        planned = pipeline | "Plan" >> ListShards(listing(scratch, "new", work.todo))
        done = pipeline | "Plan done before" >> ListShards(listing(scratch, "done", work.done))
        if plan.encode_once is None:
            given = planned | "Bring no vectors" >> beam.Map(lambda shard: (shard, ()))
            counts = pipeline | "Count none" >> beam.Create([])
        else:
            encoded = planned | "Encode once" >> EncodeOnce(
                load_scorer,
                shared=shared,
                columns=settings.columns,
                max_chars=settings.max_chars,
                truncate=settings.truncate,
                buckets=plan.encode_once.buckets,
                store=plan.encode_once.store,
            )
            given, counts = encoded["shards"], encoded["counts"]
        accounts = given | "Score shards" >> ScoreShards(load_scorer, settings, shared=shared)
        parts = (
            (
                accounts | "New" >> beam.Map(lambda account: (True, account)),
                done | "Read accounts" >> beam.Map(blocks.read_done, work.claim.folder),
            )
            | "All accounts" >> beam.Flatten()
            | "Add up accounts" >> blocks.AddUpAccounts(in_blocks)
        )
        commit = Commit(
            work.claim,
            len(names),
            tuple(names) if len(names) <= INLINE_SHARDS else (),
            plan.header(),
            plan.options.gates,
            started,
            trained=trained_profile(plan.options.model),
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


def plan_encoding(
    options: ScoreOptions, bundle: dict[str, Any], shards: Sequence[Shard]
) -> EncodePlan | None:
    """Whether and how sentences are encoded once for the whole input.

    Raises:
        UserError: the embedding store is another bundle's, or needs the other plan.
    """
    if options.encode_once == "shard":
        if options.embedding_store:
            raise UserError(
                "--embedding_store goes with --encode_once=global; each sentence is then looked up "
                "and encoded once a run"
            )
        return None
    store = None
    if options.embedding_store:
        store = EmbeddingStore(options.embedding_store, bundle["fingerprint"], bundle["dimensions"])
        store.open()
    return EncodePlan(bucket_count(sum(shard.rows for shard in shards)), store)


def check_threshold(threshold: float | None, bundle: dict[str, Any]) -> None:
    """Checks that a threshold that was given can cut the bundle's similarities.

    Raises:
        UserError: there are no two classes, or it is no similarity of theirs.
    """
    task = bundle.get("task", "binary")
    if threshold is None:
        return
    if task != "binary":
        raise UserError(f"--threshold is for two classes; the task of this bundle is {task}")
    if not 0 <= threshold <= 1:
        raise UserError(f"--threshold {threshold:g}: expected a similarity from 0 to 1")


def check_output(
    options: ScoreOptions, schemas: dict[str, pa.Schema], added: Sequence[pa.Field]
) -> None:
    """Checks that nothing the run writes clashes with what it reads.

    Raises:
        UserError: names the clash and the flag that fixes it.
    """
    flags = {
        options.scoring.similarity_column: "--similarity_column",
        options.scoring.label_column: "--similarity_label_column",
    }
    for source, schema in schemas.items():
        if files.is_inside(source, options.output):
            raise UserError(
                f"--output {options.output} holds the input {source}; choose another folder"
            )
        names = set(schema.names)
        for new in (*added, *REJECT_FIELDS):
            if new.name in names:
                fix = flags.get(new.name)
                raise UserError(
                    f"{source} has a column {new.name!r} already; "
                    + (f"choose another name with {fix}" if fix else "rename it first")
                )


def print_plan(work: output_folder.Work, planned: Plan) -> None:
    """Says what there is to do, what is left out, and what is written otherwise."""
    command_line.print_left_out(planned.rejected)
    command_line.print_rewritten(planned.rewritten)
    rows = sum(shard.rows for shard in work.todo)
    kept = f", {len(work.done)} shards done before" if work.done else ""
    print(f"{rows:,} rows in {len(work.todo)} shards to score{kept}", flush=True)


def print_result(output: str, key: str) -> dict[str, Any]:
    """Says what was done and where it lies; returns the manifest.

    Raises:
        RunError: what lies there is not what this run was to make.
    """
    manifest = output_folder.read_manifest(output)
    if manifest.get("run_key") != key:
        raise RunError(f"{output} holds scores of another run; choose another folder")
    reasons = ", ".join(f"{n:,} {reason}" for reason, n in manifest["rejected_by_reason"].items())
    print(
        f"{manifest['rows_in']:,} rows in = {manifest['rows_scored']:,} scored + "
        f"{manifest['rows_rejected']:,} rejected{f' ({reasons})' if reasons else ''}; "
        f"{manifest['sentences_encoded']:,} of {manifest['sentences']:,} sentences encoded\n"
        f"{format_times(manifest)}\n"
        f"{drift.format_drift(manifest.get('drift', {}))}\n"
        f"scores: {output}   manifest: {output}/{shard_account.MANIFEST}"
        + (f"   drift: {output}/{output_folder.DRIFT_PAGE}" if manifest.get("drift") else "")
    )
    return manifest


def format_times(manifest: dict[str, Any]) -> str:
    """How long scoring took, and start-up apart from it: small inputs are all start-up."""
    pairs, scoring = manifest["rows_this_run"], manifest["seconds_scoring"]
    speed = f" ({pairs / scoring:,.0f} pairs/s)" if scoring else ""
    return (
        f"scored {pairs:,} pairs in {scoring:.1f} s{speed}, start-up "
        f"{manifest['seconds_startup']:.1f} s, {manifest['seconds']:.1f} s in all"
    )


def main() -> int:
    """The command line."""
    return command_line.run_main(run)


if __name__ == "__main__":
    raise SystemExit(main())
