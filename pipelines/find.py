"""Finds similar pairs that no table lists, within a table or between two.

Local: twinbeam find --input 'questions/*.parquet' --model bundle --output pairs
Dataflow: the same with --runner=DataflowRunner --project=… --region=… --temp_location=gs://…
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions

from model.scoring.bundle_scorer import BundleScorer
from pipelines.dataflow import estimate, jobs
from pipelines.dataflow import settings as dataflow
from pipelines.finding.commit_pairs import CommitPairs
from pipelines.finding.find_graph import run_search
from pipelines.finding.find_progress import SearchFolder, show_search
from pipelines.finding.find_tables import (
    FindTables,
    check_inputs_apart,
    check_packages,
    least_similarity,
    plan_sentence_tables,
    with_comparison,
    with_labels,
)
from pipelines.finding.plan_search import PACKAGES, plan_search, search_key
from pipelines.options import beam_interface, command_line
from pipelines.options.find_options import FindOptions, parse
from pipelines.running import run_inputs, same_run
from transforms.accounts import output_folder, shard_account
from transforms.accounts.commit import judge_again
from transforms.accounts.gates import Gates
from transforms.finding.recall import Recall
from transforms.storage import files
from transforms.vector_blocks import units
from transforms.versions import versions


def run(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Finds, and returns the manifest."""
    return search_pairs(parse(sys.argv[1:] if argv is None else argv))


def search_pairs(options: FindOptions) -> dict[str, Any]:
    """Plans, finds what is left to find, and commits.

    Raises:
        UserError: the input, the bundle, the output folder or a flag cannot be used.
        RunError: the run failed; what it finished is kept for the next one.
    """
    started = time.time()
    check_packages()
    beam_options = beam_interface.beam_options(options.beam_flags)
    dataflow.configure(
        beam_options, step="find", paths=options.paths(), accelerator=options.accelerator
    )
    scorer = BundleScorer(options.model)
    bundle = scorer.verify()
    run_inputs.check_pin(options.model, options.model_sha256, bundle["fingerprint"])
    options, distance = with_comparison(options, scorer)
    options, labels = with_labels(options)
    options, tables = plan_sentence_tables(options)
    options = replace(options, min_similarity=least_similarity(options, bundle))
    if options.estimating.wanted:
        return asdict(estimate_pairs(options, tables, beam_options))
    check_inputs_apart(options, tables)
    key = search_key(options, bundle)
    identity = [key, tables.inputs()]
    if jobs.adopt(beam_options, step="find", output=options.output, identity=identity):
        same_run.check_made(files.join(options.output, shard_account.MANIFEST), "run_key", key)
        return print_pairs(options.output)
    found = [units.as_shard(unit, tables.inputs()) for unit in tables.units()]
    shards = [*(table.shard for table in tables.shards), *found]
    with output_folder.claim_output(
        options.output, shards, key, overwrite=options.overwrite, rejected=tables.rejected
    ) as work:
        if work.committed:
            manifest = judge_again(options.output, Gates(options.max_reject_fraction))
            print(f"{options.output} is complete already: same inputs and options")
            return manifest
        print_search_plan(tables, work)
        header = {
            "bundle": {"path": options.model, "fingerprint": bundle["fingerprint"]},
            "options": options.identity(),
            "files_rejected": [asdict(file) for file in tables.rejected],
            "run_key": key,
            "versions": versions(PACKAGES),
        }
        names = tuple(shard.name for shard in shards)
        most = options.max_reject_fraction
        commit = CommitPairs(work.claim, names, tables.blocks, header, most, started)
        search = plan_search(options, tables, scorer, bundle, distance, key, work)
        if labels is not None:
            path = labels.save(files.join(work.claim.scratch, "labels.npz"))
            search = replace(search, joining=replace(search.joining, labels=path))
        folder = SearchFolder.for_work(work, options.output, tables.blocks, tables.cells)
        with show_search(folder):
            run_search(search, work, commit, beam_options)
    return {} if dataflow.only_staged(beam_options) else print_pairs(options.output)


def estimate_pairs(
    options: FindOptions, tables: FindTables, beam_options: PipelineOptions
) -> estimate.Estimate:
    """Prints what a job would take, by the pairs of rows; equal sentences make it less."""
    rows = {
        side: sum(table.shard.rows for table in tables.shards if table.side == side)
        for side in ("left", "right")
    }
    planned = tables.units()
    pairs = units.pairs_of(tables.blocks, rows["left"], rows["right"])
    shards = [replace(units.as_shard(unit, ""), rows=pairs // len(planned)) for unit in planned]
    return estimate.print_estimate(options.estimating, "find", shards, beam_options)


def print_search_plan(tables: FindTables, work: output_folder.Work) -> None:
    """Prints what is to be done, and what is left out."""
    run_inputs.print_left_out(tables.rejected)
    rows = sum(table.shard.rows for table in tables.shards)
    todo = sum(shard.source == units.SOURCE for shard in work.todo)
    kept = f", {len(work.done)} shards done before" if work.done else ""
    print(f"{rows:,} rows; {todo:,} units of pairs to compare{kept}", flush=True)


def print_pairs(output: str) -> dict[str, Any]:
    """Prints the result and where it is; returns the manifest."""
    manifest = output_folder.read_manifest(output)
    reasons = ", ".join(f"{n:,} {reason}" for reason, n in manifest["rejected_by_reason"].items())
    print(
        f"{manifest['rows_in']:,} rows in = {manifest['rows_used']:,} used + "
        f"{manifest['rows_rejected']:,} rejected{f' ({reasons})' if reasons else ''}; "
        f"{manifest['sentences_encoded']:,} of {manifest['sentences']:,} sentences encoded\n"
        f"{manifest['pairs']:,} pairs of sentences = {manifest['pairs_compared']:,} compared + "
        f"{manifest['pairs_excluded']:,} excluded; {manifest['pairs_found']:,} are similar, "
        f"{manifest['pairs_equal']:,} more pairs of rows have equal sentences; "
        f"{manifest['seconds']:.1f} s\n"
        + (f"{_recall(manifest)}\n" if "recall" in manifest else "")
        + f"pairs: {output}/*.parquet   manifest: {output}/{shard_account.MANIFEST}"
    )
    return manifest


def _recall(manifest: dict[str, Any]) -> str:
    searched = [f"; {manifest['visits']} cells visited" for _ in range("visits" in manifest)]
    if "radius" in manifest:
        proposed = f" {manifest['pairs_proposed']:,}" if "pairs_proposed" in manifest else ""
        searched.append(
            f"; the head compared{proposed} pairs that are at most {manifest['radius']:.4f} apart"
        )
    return f"{Recall(**manifest['recall'])}{''.join(searched)}"


def main() -> int:
    """The command line."""
    return command_line.run_main(run)


if __name__ == "__main__":
    raise SystemExit(main())
