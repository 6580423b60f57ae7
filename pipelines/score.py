"""Scores Parquet of sentence pairs with a bundle: the same rows, a similarity and a label.

Local: twinbeam score --input 'pairs/*.parquet' --model bundle --output scores
Dataflow: the same with --runner=DataflowRunner --project=… --region=… --temp_location=gs://…
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
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
from pipelines.running.commit_scores import Commit, trained_profile
from pipelines.running.phases import phase
from pipelines.running.progress import show_progress
from pipelines.running.run_graph import running
from transforms import drift
from transforms.accounts import blocks, output_folder, shard_account
from transforms.errors import UserError
from transforms.input.shards import Plan, Shard, plan
from transforms.pairs import REJECT_FIELDS
from transforms.scoring.embedding_store import EmbeddingStore
from transforms.scoring.encode_once import EncodeOnce, partition_count
from transforms.scoring.score_shards import Scorer, ScoreSettings, ScoreShards
from transforms.storage import files
from transforms.storage.lock import lock

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
    beam_options = beam_interface.beam_options(options.beam_flags)
    dataflow.configure(
        beam_options, step="score", paths=options.paths(), accelerator=options.accelerator
    )
    scorer = BundleScorer(options.model, options.scoring)
    with phase("checking the bundle"):
        bundle = scorer.verify()
    check_pin(options, bundle["fingerprint"])
    check_threshold(options.scoring.threshold, bundle)
    planned = plan(
        options.inputs,
        options.columns,
        shard_rows=options.shard_rows,
        on_bad_file=options.on_bad_file,
        int96=options.int96,
        partition_columns=options.partition_columns,
    )
    shards = planned.shards
    if options.estimating.wanted:
        return asdict(estimate.print_estimate(options.estimating, "score", shards, beam_options))
    check_output(options, planned.schemas, scorer.fields(bundle))
    encode_once = plan_encoding(options, bundle, shards)
    key = shard_account.run_key(bundle=bundle["fingerprint"], **options.identity())
    identity = [key, *(shard.fingerprint for shard in shards)]
    if jobs.adopt(beam_options, step="score", output=options.output, identity=identity):
        return print_result(options.output)
    busy = (
        f"{options.output} is being written by another run; wait for it, or choose another folder"
    )
    with lock(files.join(options.output, output_folder.LOCK), busy=busy):
        work = output_folder.open_output(
            options.output, shards, key, overwrite=options.overwrite, rejected=planned.rejected
        )
        if work.committed:
            print(f"{options.output} is complete already: same inputs, bundle and options")
            return output_folder.read_manifest(options.output)
        print_plan(work, planned)
        name = output_folder.begin(options.output, shards, key)
        settings = ScoreSettings(
            options.output,
            key,
            options.columns,
            options.max_chars,
            truncate=options.on_long_sentence == "truncate",
            redact=options.redact,
            compression=options.compression,
        )
        header = {
            "bundle": {"path": options.model, "fingerprint": bundle["fingerprint"]},
            "options": options.identity(),
            "files_rejected": [asdict(file) for file in planned.rejected],
            "versions": {name: version(name) for name in PACKAGES},
        }
        parted = blocks.Blocks.of(options.output, [shard.name for shard in shards])
        commit = Commit(
            options.output,
            len(shards),
            tuple(shard.name for shard in shards) if parted.inline else (),
            header,
            options.max_reject_fraction,
            started,
            trained=trained_profile(options.model),
            max_drift=options.max_drift,
            run=name,
        )
        with show_progress(options.output, work):
            run_pipeline(
                work,
                scorer.load,
                settings,
                commit,
                beam_options,
                parted=parted,
                encode_once=encode_once,
            )
    return {} if dataflow.only_staged(beam_options) else print_result(options.output)


def run_pipeline(
    work: output_folder.Work,
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
                partitions=encode_once.partitions,
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

    partitions: int
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
    return EncodePlan(partition_count(sum(shard.rows for shard in shards)), store)


def check_pin(options: ScoreOptions, fingerprint: str) -> None:
    """Checks that the bundle is the one that was asked for.

    Raises:
        UserError: it is another one.
    """
    if options.model_sha256 not in (None, fingerprint):
        raise UserError(
            f"{options.model} has the fingerprint {fingerprint}, expected --model_sha256 "
            f"{options.model_sha256}; it is another bundle than the one that was pinned"
        )


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
        UserError: names the clash and the flag that mends it.
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
                mend = flags.get(new.name)
                raise UserError(
                    f"{source} has a column {new.name!r} already; "
                    + (f"choose another name with {mend}" if mend else "rename it first")
                )


def print_plan(work: output_folder.Work, planned: Plan) -> None:
    """Says what there is to do, what is left out, and what is written otherwise."""
    command_line.print_left_out(planned.rejected)
    command_line.print_rewritten(planned.rewritten)
    rows = sum(shard.rows for shard in work.todo)
    kept = f", {len(work.done)} shards done before" if work.done else ""
    print(f"{rows:,} rows in {len(work.todo)} shards to score{kept}", flush=True)


def print_result(output: str) -> dict[str, Any]:
    """Says what was done and where it lies; returns the manifest."""
    manifest = output_folder.read_manifest(output)
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
