"""Scores pairs: the run, its graph, and what it prints."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.utils.shared import Shared

from pipelines.dataflow import estimate, jobs
from pipelines.dataflow import settings as dataflow
from pipelines.options import beam_interface
from pipelines.running import run_inputs, trained_on
from pipelines.running.progress import show_progress
from pipelines.running.run_graph import commit_once, running
from pipelines.scoring.commit_scores import Commit
from pipelines.scoring.plan_scores import ScorePlan, check_clashes, plan_scores
from transforms import drift
from transforms.accounts import blocks, output_folder, shard_account
from transforms.accounts.commit import judge_again
from transforms.accounts.list_shards import INLINE_SHARDS, ListShards, listing
from transforms.accounts.output_folder import claim_output
from transforms.errors import RunError
from transforms.input.shards import Plan
from transforms.scoring.encode_once import EncodeOnce
from transforms.scoring.score_shards import ScoreShards

if TYPE_CHECKING:
    from pipelines.options.score_options import ScoreOptions


def score_pairs(options: ScoreOptions) -> dict[str, Any]:
    """Plans, scores what is left to do, and commits.

    Raises:
        UserError: the input, the bundle, the output folder or a flag cannot be used.
        RunError: the run failed; what it finished is kept for the next one.
    """
    started = time.time()
    beam_options = scoring_beam_options(options)
    plan = plan_scores(options)
    shards = plan.input.shards
    if options.estimating.wanted:
        return asdict(estimate.print_estimate(options.estimating, "score", shards, beam_options))
    check_clashes(options, plan.input.schemas, plan.scorer.fields(plan.bundle))
    if jobs.adopt(beam_options, step="score", output=options.output, identity=plan.identity()):
        return print_scores(options.output, plan.key)
    with claim_output(
        options.output, shards, plan.key,
        overwrite=options.overwrite, rejected=plan.input.rejected,
    ) as work:  # fmt: skip
        if work.committed:
            manifest = judge_again(options.output, options.gates)
            print(f"{options.output} is complete already: same inputs, bundle and options")
            return manifest
        print_scoring_plan(work, plan.input)
        if plan.inputs_seen:
            print(f"note: {trained_on.format_seen(plan.inputs_seen)}", flush=True)
        with show_progress(options.output, work):
            run_scoring(plan, work, beam_options, started=started)
    return {} if dataflow.only_staged(beam_options) else print_scores(options.output, plan.key)


def scoring_beam_options(options: ScoreOptions) -> PipelineOptions:
    """Beam's options, with what a job on Dataflow needs."""
    beam_options = beam_interface.beam_options(options.beam_flags)
    dataflow.configure(
        beam_options, step="score", paths=options.paths(), accelerator=options.accelerator
    )
    return beam_options


def run_scoring(
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
            trained=plan.trained,
        )
        commit_once(
            pipeline,
            commit,
            parts=beam.pvalue.AsIter(parts),
            encoded=beam.pvalue.AsIter(counts),
        )


def print_scoring_plan(work: output_folder.Work, planned: Plan) -> None:
    """Prints what is to be done, what is left out, and what is written with another type."""
    run_inputs.print_left_out(planned.rejected)
    run_inputs.print_rewritten(planned.rewritten)
    rows = sum(shard.rows for shard in work.todo)
    kept = f", {len(work.done)} shards done before" if work.done else ""
    print(f"{rows:,} rows in {len(work.todo)} shards to score{kept}", flush=True)


def print_scores(output: str, key: str) -> dict[str, Any]:
    """Prints the result and where it is; returns the manifest.

    Raises:
        RunError: it holds what another run made.
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
