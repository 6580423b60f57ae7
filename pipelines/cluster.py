"""Makes clusters of similar pairs, with ids that stay from one run to the next.

Local: twinbeam cluster --input pairs --output clusters
Dataflow: the same with --runner=DataflowRunner --project=… --region=… --temp_location=gs://…
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.dataflow import jobs
from pipelines.dataflow import settings as dataflow
from pipelines.options import beam_interface, command_line
from pipelines.options.cluster_options import ClusterOptions, parse
from pipelines.options.scored_inputs import is_folder, score_inputs
from pipelines.running import same_run
from pipelines.running.commit_clusters import PAGE, CommitClusters
from pipelines.running.run_graph import running
from transforms.accounts import blocks, output_folder, shard_account
from transforms.accounts.commit import judge_again
from transforms.accounts.gates import Gates
from transforms.accounts.list_shards import ListShards, listing
from transforms.clustering.cluster_pairs import ClusterPairs
from transforms.clustering.clusters import ClusterSettings, cluster_shard
from transforms.clustering.edges import PairTable, id_type, node_schema
from transforms.clustering.tables import ClusterShard, Kind, ReadSettings
from transforms.errors import UserError
from transforms.input.input_files import FoundFile
from transforms.input.shards import Plan, plan
from transforms.storage import files
from transforms.storage.exchange import Exchange
from transforms.vector_blocks.units import fingerprint
from transforms.versions import versions

PACKAGES = ("apache-beam", "pyarrow", "numpy", "pandas")
FOUND = "pairs_compared"  # what the manifest of find has and that of score has not


def run(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Makes clusters, and returns the manifest."""
    return cluster(parse(sys.argv[1:] if argv is None else argv))


def cluster(options: ClusterOptions) -> dict[str, Any]:
    """Plans, makes clusters, and commits.

    Raises:
        UserError: the input, the output folder or a flag cannot be used.
        RunError: the run failed; what it finished is kept for the next one.
    """
    started = time.time()
    beam_options = beam_interface.beam_options(options.beam_flags)
    dataflow.configure(beam_options, step="cluster", paths=options.paths())
    tables = plan_tables(options)
    key = shard_account.run_key(step="cluster", versions=versions(PACKAGES), **options.identity())
    inputs = fingerprint([table.shard for table in tables.shards])
    buckets = max(1, -(-tables.pairs // options.edges_at_once))
    if jobs.adopt(beam_options, step="cluster", output=options.output, identity=[key, inputs]):
        same_run.check_made(files.join(options.output, shard_account.MANIFEST), "run_key", key)
        return print_result(options.output)
    made = [cluster_shard(bucket, buckets, inputs) for bucket in range(buckets)]
    shards = [*(table.shard for table in tables.shards), *made]
    with output_folder.claim_output(
        options.output, shards, key, overwrite=options.overwrite
    ) as work:
        if work.committed:
            manifest = judge_again(options.output, Gates(options.max_reject_fraction))
            print(f"{options.output} is complete already: same inputs and options")
            return manifest
        print(f"{tables.pairs:,} pairs in {buckets:,} buckets", flush=True)
        folder = files.join(
            options.output, shard_account.SHARDS_FOLDER, f"exchange-{key[:12]}-{inputs[:12]}"
        )
        header = {
            "options": options.identity() | {"previous": options.previous},
            "run_key": key,
            "versions": versions(PACKAGES),
        }
        commit = CommitClusters(
            work.claim,
            tuple(shard.name for shard in shards),
            folder,
            header,
            options.max_reject_fraction,
            started,
        )
        run_pipeline(options, tables, Exchange(folder, buckets), commit, key, beam_options)
    return {} if dataflow.only_staged(beam_options) else print_result(options.output)


@dataclass(frozen=True)
class ClusterTables:
    """The plan of all tables.

    Attributes:
        shards: of all of them.
        pairs: rows of the pairs.
        table: how pairs are read.
        schema: of nodes.
    """

    shards: tuple[ClusterShard, ...]
    pairs: int
    table: PairTable
    schema: pa.Schema

    def names(self, kind: Kind) -> tuple[str, ...]:
        """Names of the shards of one kind."""
        return tuple(table.shard.name for table in self.shards if table.kind == kind)


def plan_tables(options: ClusterOptions) -> ClusterTables:
    """The shards of pairs, of all rows and of earlier clusters, checked.

    Raises:
        UserError: names the file that cannot be used and why.
    """
    check_threshold(options)
    pairs = _planned(score_inputs(options.inputs), options)
    table = pair_table(options, pairs)
    schema = _same_nodes(pairs, table)
    shards = [ClusterShard("pairs", shard) for shard in pairs.shards]
    if options.rows:
        shards += _other("rows", _checked_rows(options, schema))
    if options.previous:
        previous = _planned(score_inputs([options.previous]), options)
        for source, found in previous.schemas.items():
            if "cluster_id" not in found.names:
                raise UserError(
                    f"--previous: {source} has no cluster_id; give an output of cluster"
                )
        shards += _other("previous", previous)
    return ClusterTables(tuple(shards), sum(s.rows for s in pairs.shards), table, schema)


def check_threshold(options: ClusterOptions) -> None:
    """Checks that it is known which pairs are similar.

    Raises:
        UserError: pairs of all kinds are given without a least similarity.
    """
    for folder in options.inputs:
        found = is_folder(folder) and FOUND in output_folder.read_manifest(folder)
        if not found and options.min_similarity is None:
            raise UserError(
                f"--input {folder} may hold pairs that are not similar; give --min_similarity"
            )


def pair_table(options: ClusterOptions, pairs: Plan) -> PairTable:
    """How the pairs are read: by ids where there are any, else by their sentences."""
    names = set.intersection(*(set(schema.names) for schema in pairs.schemas.values()))
    ids = options.ids or (("id1", "id2") if {"id1", "id2"} <= names else options.sentences)
    sentences = None
    if ids != options.sentences and set(options.sentences) <= names:
        sentences = options.sentences
    return PairTable(ids, sentences, options.similarity, options.min_similarity)


def _planned(patterns: Sequence[str | FoundFile], options: ClusterOptions) -> Plan:
    return plan(
        patterns,
        PairTable(),
        shard_rows=options.shard_rows,
        on_bad_file=None,
        named_after_input=False,
    )


def _same_nodes(pairs: Plan, table: PairTable) -> pa.Schema:
    found = {path: node_schema(schema, table, path) for path, schema in pairs.schemas.items()}
    (first, schema), *rest = found.items()
    for path, other in rest:
        if other != schema:
            raise UserError(f"{path}: ids are {other.field('id').type}, in {first} "
                            f"{schema.field('id').type}; make them the same")  # fmt: skip
    return schema


def _checked_rows(options: ClusterOptions, schema: pa.Schema) -> Plan:
    rows = _planned(options.rows, options)
    wanted = row_columns(options, schema)
    for path, found in rows.schemas.items():
        for name in wanted:
            if name not in found.names:
                raise UserError(f"--rows: {path} has no column {name!r}; name yours (see --help)")
        kind = id_type(found.field(options.id_column).type, options.id_column, path)
        if kind != schema.field("id").type:
            raise UserError(
                f"--rows: ids of {path} are {kind}, those of the pairs "
                f"{schema.field('id').type}; make them the same"
            )
    return rows


def row_columns(options: ClusterOptions, schema: pa.Schema) -> tuple[str, ...]:
    """Columns of the table of all rows."""
    with_sentence = "sentence" in schema.names
    return (options.id_column, options.sentence_column) if with_sentence else (options.id_column,)


def _other(kind: Kind, found: Plan) -> list[ClusterShard]:
    """Shards of a table that holds no pairs: its rows are none of those that must add up."""
    return [
        ClusterShard(kind, replace(shard, name=f"{kind}-{shard.name}", rows=0))
        for shard in found.shards
    ]


def run_pipeline(
    options: ClusterOptions,
    tables: ClusterTables,
    exchange: Exchange,
    commit: CommitClusters,
    key: str,
    beam_options: PipelineOptions,
) -> None:
    """The graph: tables → rounds of stars → clusters and accounts → the commit."""
    reading = ReadSettings(
        options.output,
        key,
        tables.table,
        tables.schema,
        row_columns(options, tables.schema),
        commit.claim.run,
    )
    settings = ClusterSettings(
        options.output,
        key,
        fingerprint([table.shard for table in tables.shards]),
        tables.names("pairs"),
        tables.names("rows"),
        tables.names("previous"),
        options.max_cluster,
        options.cut,
        commit.claim.run,
    )
    with running(beam_options) as pipeline:
        made = (
            pipeline
            | "List tables" >> ListShards(listing(commit.claim.scratch, "tables", tables.shards))
            | "Cluster pairs" >> ClusterPairs(exchange, reading, settings)
        )
        parts = (
            (made["tables"], made["clusters"])
            | "All accounts" >> beam.Flatten()
            | "As new" >> beam.Map(lambda account: (True, account))
            | "Add up accounts"
            >> blocks.AddUpAccounts(blocks.AccountBlocks.plan(commit.claim, commit.names))
        )
        (
            pipeline
            | "Once" >> beam.Create([None])
            | "Commit"
            >> beam.Map(
                commit,
                parts=beam.pvalue.AsIter(parts),
                notes=beam.pvalue.AsIter(made["notes"]),
            )
        )


def print_result(output: str) -> dict[str, Any]:
    """Prints what was made and where it lies; returns the manifest."""
    manifest = output_folder.read_manifest(output)
    changed = [
        f"{manifest[name]:,} {what}"
        for name, what in (("clusters_merged", "merged"), ("clusters_split", "split"))
        if name in manifest
    ]
    print(
        f"{manifest['rows_clustered']:,} rows in {manifest['clusters']:,} clusters, "
        f"{manifest['clusters_of_one']:,} of them of one row; the largest has "
        f"{manifest['largest_cluster']:,}{'; ' + ', '.join(changed) if changed else ''}; "
        f"{manifest['seconds']:.1f} s\n"
        f"clusters: {output}/*.parquet   page: {output}/{PAGE}   "
        f"manifest: {output}/{shard_account.MANIFEST}"
    )
    for large in manifest["too_large"]:
        print(
            f"too large: cluster {large['cluster_id']} has {large['size']:,} rows; its weakest "
            f"edge is {large['weakest']}"
        )
    return manifest


def main() -> int:
    """The command line."""
    return command_line.run_main(run)


if __name__ == "__main__":
    raise SystemExit(main())
