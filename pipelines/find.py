"""Finds similar pairs that nobody has listed, within a table or between two.

Local: python -m pipelines.find --input 'questions/*.parquet' --model bundle --output pairs
Dataflow: the same with --runner=DataflowRunner --project=… --region=… --temp_location=gs://…
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.utils.shared import Shared

from model.scoring.bundle_scorer import BundleScorer
from pipelines.dataflow import estimate, jobs
from pipelines.dataflow import settings as dataflow
from pipelines.options import command_line
from pipelines.options.find_options import FindRun, parse
from pipelines.running.commit_pairs import CommitPairs
from pipelines.running.run_graph import running
from transforms.accounts import blocks, output_folder, shard_account
from transforms.errors import UserError
from transforms.finding import units
from transforms.finding.find_pairs import FindPairs, unit_of
from transforms.finding.join import JoinSettings
from transforms.finding.make_blocks import MakeBlocks, TableSettings, TableShard, table_shards
from transforms.finding.near import Distance
from transforms.finding.pair_rows import pair_schema
from transforms.finding.reach import DISTANCES, Comparer
from transforms.finding.rows import row_schema
from transforms.finding.vector_block import BlockAccount, read_block_accounts
from transforms.input.shards import Plan, RejectedFile, Shard, plan
from transforms.scoring.embedding_store import EmbeddingStore
from transforms.storage import files
from transforms.storage.lock import lock

PACKAGES = ("apache-beam", "pyarrow", "numpy", "tensorflow", "keras")
NEEDED = ("numba", "threadpoolctl")


def run(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Finds, and returns the manifest."""
    return find(parse(sys.argv[1:] if argv is None else argv))


@dataclass(frozen=True)
class Tables:
    """The plan of both tables.

    Attributes:
        shards: of both, as they are read.
        schemas: of their rows, by side.
        blocks: how many each side has.
        rejected: files that are left out.
    """

    shards: tuple[TableShard, ...]
    schemas: dict[units.Side, pa.Schema]
    blocks: units.Blocks
    rejected: tuple[RejectedFile, ...]

    def units(self) -> list[units.Unit]:
        """What is compared with what."""
        return units.plan_units(self.blocks)

    def inputs(self) -> str:
        """A fingerprint of all that is read."""
        return units.fingerprint([table.shard for table in self.shards])


def find(asked: FindRun) -> dict[str, Any]:
    """Plans, finds what is left to find, and commits.

    Raises:
        UserError: the input, the bundle, the output folder or a flag cannot be used.
        RunError: the run failed; what it finished is kept for the next one.
    """
    started = time.time()
    check_packages()
    beam_options = command_line.beam_options(asked.beam_flags)
    dataflow.configure(
        beam_options, step="find", paths=asked.paths(), accelerator=asked.accelerator
    )
    scorer = BundleScorer(asked.model)
    bundle = scorer.verify()
    if asked.model_sha256 not in (None, bundle["fingerprint"]):
        raise UserError(
            f"{asked.model} has the fingerprint {bundle['fingerprint']}, expected --model_sha256 "
            f"{asked.model_sha256}; it is another bundle than the one that was pinned"
        )
    distance = usable_distance(asked.model, scorer)
    asked, tables = plan_tables(asked)
    asked = replace(asked, min_similarity=least_similarity(asked, bundle))
    if asked.estimating.wanted:
        return asdict(estimate_pairs(asked, tables, beam_options))
    check_output(asked, tables)
    key = shard_account.run_key(bundle=bundle["fingerprint"], **asked.decides())
    decides = [key, tables.inputs()]
    if jobs.adopt(beam_options, step="find", output=asked.output, decides=decides):
        return print_result(asked.output)
    busy = f"{asked.output} is being written by another run; wait for it, or choose another folder"
    with lock(files.join(asked.output, output_folder.LOCK), busy=busy):
        found = [units.as_shard(unit, tables.inputs()) for unit in tables.units()]
        shards = [*(table.shard for table in tables.shards), *found]
        work = output_folder.open_output(
            asked.output, shards, key, overwrite=asked.overwrite, rejected=tables.rejected
        )
        if work.committed:
            print(f"{asked.output} is complete already: same inputs, bundle and options")
            return output_folder.read_manifest(asked.output)
        print_plan(tables, work)
        name = output_folder.begin(asked.output, shards, key)
        header = {
            "bundle": {"path": asked.model, "fingerprint": bundle["fingerprint"]},
            "options": asked.decides(),
            "files_rejected": [asdict(file) for file in tables.rejected],
            "versions": {name: version(name) for name in PACKAGES},
        }
        names = tuple(shard.name for shard in shards)
        commit = CommitPairs(
            asked.output, names, tables.blocks, header, asked.max_reject_fraction, started, name
        )
        search = Search.of(asked, tables, scorer, bundle, distance, key, work)
        run_pipeline(search, work, commit, beam_options)
    return {} if dataflow.only_staged(beam_options) else print_result(asked.output)


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
        asked: FindRun,
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
        made = {(b.side, b.number): b for b in read_block_accounts(asked.output, f"{key}-{inputs}")}
        missing = frozenset(tables.blocks.all()) - made.keys()
        unread = any(table.shard.name in todo for table in tables.shards)
        reading = TableSettings(
            asked.output,
            key,
            inputs,
            asked.columns,
            tables.schemas,
            counts,
            missing,
            todo,
            one_space=asked.within,
            max_chars=asked.max_chars,
            compression=asked.compression,
        )
        left, right = tables.schemas["left"], tables.schemas.get("right", tables.schemas["left"])
        joining = JoinSettings(
            asked.output,
            key,
            inputs,
            float(asked.min_similarity or 0.0),
            pair_schema(left, right, asked.columns.keep, scorer.fields(bundle)),
            asked.within,
            asked.columns.keep,
            asked.equal,
            asked.compression,
        )
        store = None
        if asked.embedding_store:
            found = bundle["fingerprint"], bundle["dimensions"]
            store = EmbeddingStore(asked.embedding_store, *found).open()
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


def check_packages() -> None:
    """Checks that what a search needs besides scoring is installed.

    Raises:
        UserError: it is not.
    """
    for name in NEEDED:
        if find_spec(name) is None:
            raise UserError(f"find needs {name}: pip install 'twinbeam[find]'")


def usable_distance(model: str, scorer: BundleScorer) -> Distance:
    """The distance that a bundle's similarity is a function of.

    Raises:
        UserError: it is a function of something else.
    """
    kind, symmetric = scorer.comparison()
    if not symmetric:
        raise UserError(
            f"--model {model} compares by {kind}, which says another thing of a pair than of its "
            "mirror; find needs a symmetric comparison"
        )
    for distance in DISTANCES:
        if kind == distance:
            return distance
    raise UserError(
        f"--model {model} compares by a learned head ({kind}); expected a bundle that compares by "
        f"{', '.join(DISTANCES)}"
    )


def plan_tables(asked: FindRun) -> tuple[FindRun, Tables]:
    """The shards of both tables, the schemas of their rows and their blocks.

    Returns:
        What was asked for, without an id column where there is none, and the tables.

    Raises:
        UserError: names the file that cannot be used and why.
    """

    def planned(patterns: Sequence[str]) -> Plan:
        return plan(
            patterns, asked.columns, shard_rows=asked.shard_rows, on_bad_file=asked.on_bad_file
        )

    sides: dict[units.Side, Plan] = {"left": planned(asked.left)}
    if asked.right:
        sides["right"] = planned(asked.right)
    schemas = [schema for side in sides.values() for schema in side.schemas.values()]
    named = asked.columns.id is not None
    if named and not asked.id_named and all(asked.columns.id not in s.names for s in schemas):
        asked = replace(asked, columns=replace(asked.columns, id=None))
    alone = len(sides) == 1
    rows = {side: sum(shard.rows for shard in found.shards) for side, found in sides.items()}
    of_rows = {side: row_schema(found.schemas, asked.columns) for side, found in sides.items()}
    check_ids_alike(asked, of_rows)
    return asked, Tables(
        tuple(t for side in sides for t in table_shards(side, sides[side].shards, alone=alone)),
        of_rows,
        units.Blocks(
            units.block_count(rows["left"]),
            units.block_count(rows["right"]) if not alone else 0,
            asked.within,
        ),
        tuple(file for found in sides.values() for file in found.rejected),
    )


def check_ids_alike(asked: FindRun, schemas: dict[units.Side, pa.Schema]) -> None:
    """Checks that ids of new and old rows can be put in one order.

    Raises:
        UserError: they are of different types.
    """
    types = [schema.field("id").type for schema in schemas.values()]
    if asked.within and len(set(types)) > 1:
        raise UserError(
            f"the ids of --input are {types[0]}, those of --against {types[1]}; make them the same"
        )


def least_similarity(asked: FindRun, bundle: dict[str, Any]) -> float:
    """The least similarity of a pair: what was asked for, or the bundle's threshold.

    Raises:
        UserError: neither is there.
    """
    found = asked.min_similarity if asked.min_similarity is not None else bundle.get("threshold")
    if found is None:
        raise UserError(f"--model {asked.model} has no threshold; give --min_similarity")
    return float(found)


def check_output(asked: FindRun, tables: Tables) -> None:
    """Checks that the run does not write where it reads.

    Raises:
        UserError: the output folder holds an input.
    """
    for table in tables.shards:
        if files.is_inside(table.shard.source, asked.output):
            raise UserError(
                f"--output {asked.output} holds the input {table.shard.source}; "
                "choose another folder"
            )


def estimate_pairs(
    asked: FindRun, tables: Tables, beam_options: PipelineOptions
) -> estimate.Estimate:
    """Prints what a job would take, by the pairs of rows; equal sentences make it less."""
    rows = {
        side: sum(table.shard.rows for table in tables.shards if table.side == side)
        for side in ("left", "right")
    }
    planned = tables.units()
    pairs = units.pairs_of(tables.blocks, rows["left"], rows["right"])
    shards = [replace(units.as_shard(unit, ""), rows=pairs // len(planned)) for unit in planned]
    return estimate.tell(asked.estimating, "find", shards, beam_options)


def print_plan(tables: Tables, work: output_folder.Work) -> None:
    """Prints what there is to do, and what is left out."""
    command_line.tell_left_out(tables.rejected)
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
