"""Finds similar pairs that nobody has listed, within a table or between two.

Local: twinbeam find --input 'questions/*.parquet' --model bundle --output pairs
Dataflow: the same with --runner=DataflowRunner --project=… --region=… --temp_location=gs://…
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.utils.shared import Shared

from model.scoring.bundle_scorer import BundleScorer
from pipelines.dataflow import estimate, jobs
from pipelines.dataflow import settings as dataflow
from pipelines.options import beam_interface, command_line
from pipelines.options.find_options import FindOptions, parse
from pipelines.options.find_tables import (
    Tables,
    check_output,
    check_packages,
    least_similarity,
    plan_tables,
    usable_distance,
)
from pipelines.running.commit_pairs import CommitPairs
from pipelines.running.run_graph import running
from transforms.accounts import blocks, output_folder, shard_account
from transforms.errors import UserError
from transforms.finding import units
from transforms.finding.find_pairs import FindPairs, unit_of
from transforms.finding.join import JoinSettings
from transforms.finding.make_blocks import MakeBlocks, TableSettings, TableShard
from transforms.finding.near import Distance
from transforms.finding.pair_rows import pair_schema
from transforms.finding.reach import Comparer
from transforms.finding.vector_block import BlockAccount, read_block_accounts
from transforms.input.shards import Shard
from transforms.scoring.embedding_store import EmbeddingStore
from transforms.storage import files
from transforms.storage.lock import lock

PACKAGES = ("apache-beam", "pyarrow", "numpy", "tensorflow", "keras")


def run(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Finds, and returns the manifest."""
    return find(parse(sys.argv[1:] if argv is None else argv))


def find(options: FindOptions) -> dict[str, Any]:
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
    if options.model_sha256 not in (None, bundle["fingerprint"]):
        raise UserError(
            f"{options.model} has the fingerprint {bundle['fingerprint']}, expected --model_sha256 "
            f"{options.model_sha256}; it is another bundle than the one that was pinned"
        )
    distance = usable_distance(options.model, scorer)
    options, tables = plan_tables(options)
    options = replace(options, min_similarity=least_similarity(options, bundle))
    if options.estimating.wanted:
        return asdict(estimate_pairs(options, tables, beam_options))
    check_output(options, tables)
    key = shard_account.run_key(bundle=bundle["fingerprint"], **options.identity())
    identity = [key, tables.inputs()]
    if jobs.adopt(beam_options, step="find", output=options.output, identity=identity):
        return print_result(options.output)
    busy = (
        f"{options.output} is being written by another run; wait for it, or choose another folder"
    )
    with lock(files.join(options.output, output_folder.LOCK), busy=busy):
        found = [units.as_shard(unit, tables.inputs()) for unit in tables.units()]
        shards = [*(table.shard for table in tables.shards), *found]
        work = output_folder.open_output(
            options.output, shards, key, overwrite=options.overwrite, rejected=tables.rejected
        )
        if work.committed:
            print(f"{options.output} is complete already: same inputs, bundle and options")
            return output_folder.read_manifest(options.output)
        print_plan(tables, work)
        name = output_folder.begin(options.output, shards, key)
        header = {
            "bundle": {"path": options.model, "fingerprint": bundle["fingerprint"]},
            "options": options.identity(),
            "files_rejected": [asdict(file) for file in tables.rejected],
            "versions": {name: version(name) for name in PACKAGES},
        }
        names = tuple(shard.name for shard in shards)
        commit = CommitPairs(
            options.output, names, tables.blocks, header, options.max_reject_fraction, started, name
        )
        search = Search.of(options, tables, scorer, bundle, distance, key, work)
        run_pipeline(search, work, commit, beam_options)
    return {} if dataflow.only_staged(beam_options) else print_result(options.output)


@dataclass(frozen=True)
class Search:
    """All that the graph of a search is made from."""

    load: Callable[[], Comparer]
    distance: Distance
    reading: TableSettings
    joining: JoinSettings
    shards: tuple[TableShard, ...]
    made: tuple[BlockAccount, ...]
    store: EmbeddingStore | None

    @staticmethod
    def of(
        options: FindOptions,
        tables: Tables,
        scorer: BundleScorer,
        bundle: dict[str, Any],
        distance: Distance,
        key: str,
        work: output_folder.Work,
    ) -> Search:
        """What is to be read, and how; nothing where all blocks are there already."""
        counts: dict[units.Side, int] = {"left": tables.blocks.left}
        counts |= {"right": tables.blocks.right} if tables.blocks.right else {}
        todo = frozenset(shard.name for shard in work.todo)
        inputs = tables.inputs()
        made = {
            (b.side, b.number): b for b in read_block_accounts(options.output, f"{key}-{inputs}")
        }
        missing = frozenset(tables.blocks.all()) - made.keys()
        unread = any(table.shard.name in todo for table in tables.shards)
        reading = TableSettings(
            options.output,
            key,
            inputs,
            options.columns,
            tables.schemas,
            counts,
            missing,
            todo,
            one_space=options.within,
            max_chars=options.max_chars,
            compression=options.compression,
        )
        left, right = tables.schemas["left"], tables.schemas.get("right", tables.schemas["left"])
        joining = JoinSettings(
            options.output,
            key,
            inputs,
            float(options.min_similarity or 0.0),
            pair_schema(left, right, options.columns.keep, scorer.fields(bundle)),
            options.within,
            options.columns.keep,
            options.equal,
            options.compression,
        )
        store = None
        if options.embedding_store:
            found = bundle["fingerprint"], bundle["dimensions"]
            store = EmbeddingStore(options.embedding_store, *found).open()
        shards = tables.shards if missing or unread else ()
        return Search(scorer.load, distance, reading, joining, shards, tuple(made.values()), store)


def run_pipeline(
    search: Search,
    work: output_folder.Work,
    commit: CommitPairs,
    beam_options: PipelineOptions,
) -> None:
    """The graph: rows → blocks of vectors → units of blocks → pairs and accounts → the commit."""
    shared, output = Shared(), search.joining.output
    todo = [shard for shard in work.todo if not _is_table(shard)]
    with running(beam_options) as pipeline:
        made = (
            pipeline
            | "List tables" >> beam.Create(list(search.shards))
            | "Spread tables" >> beam.Reshuffle()
            | "Make blocks"
            >> MakeBlocks(search.load, search.reading, shared=shared, store=search.store)
        )
        before = pipeline | "List blocks made before" >> beam.Create(list(search.made))
        every = (made["blocks"], before) | "All blocks" >> beam.Flatten()
        done = pipeline | "List done" >> blocks.ListShards(output, "done", work.done)
        joined = (
            pipeline
            | "List units" >> blocks.ListShards(output, "new", todo)
            | "As unit" >> beam.Map(unit_of)
            | "Find pairs"
            >> FindPairs(search.load, search.distance, search.joining, shared=shared, blocks=every)
        )
        parts = (
            (
                joined | "New pairs" >> beam.Map(lambda account: (True, account)),
                made["accounts"] | "New tables" >> beam.Map(lambda account: (True, account)),
                done | "Read accounts" >> beam.Map(blocks.read_done, output),
            )
            | "All accounts" >> beam.Flatten()
            | "Add up accounts" >> blocks.AddUpAccounts(blocks.Blocks.of(output, commit.names))
        )
        (
            pipeline
            | "Once" >> beam.Create([None])
            | "Commit"
            >> beam.Map(commit, parts=beam.pvalue.AsIter(parts), made=beam.pvalue.AsIter(every))
        )


def _is_table(shard: Shard) -> bool:
    return shard.source != units.SOURCE


def estimate_pairs(
    options: FindOptions, tables: Tables, beam_options: PipelineOptions
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


def print_plan(tables: Tables, work: output_folder.Work) -> None:
    """Prints what there is to do, and what is left out."""
    command_line.print_left_out(tables.rejected)
    rows = sum(table.shard.rows for table in tables.shards)
    todo = sum(not _is_table(shard) for shard in work.todo)
    kept = f", {len(work.done)} shards done before" if work.done else ""
    print(f"{rows:,} rows; {todo:,} units of pairs to compare{kept}", flush=True)


def print_result(output: str) -> dict[str, Any]:
    """Prints what was found and where it lies; returns the manifest."""
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
        f"pairs: {output}/*.parquet   manifest: {output}/{shard_account.MANIFEST}"
    )
    return manifest


def main() -> int:
    """The command line."""
    return command_line.run_main(run)


if __name__ == "__main__":
    raise SystemExit(main())
