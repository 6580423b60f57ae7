"""Makes clusters: the run, its graph, and what it prints."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.clustering.cluster_tables import ClusterTables, plan_pair_tables, row_columns
from pipelines.clustering.commit_clusters import PAGE, CommitClusters
from pipelines.dataflow import jobs
from pipelines.dataflow import settings as dataflow
from pipelines.options import beam_interface
from pipelines.running import same_run
from pipelines.running.run_graph import commit_once, running
from transforms.accounts import blocks, output_folder, shard_account
from transforms.accounts.commit import judge_again
from transforms.accounts.gates import Gates
from transforms.accounts.list_shards import ListShards, listing
from transforms.clustering.cluster_pairs import ClusterPairs
from transforms.clustering.clusters import ClusterSettings, cluster_shard
from transforms.clustering.tables import ReadSettings
from transforms.storage import files
from transforms.storage.exchange import Exchange
from transforms.vector_blocks.units import inputs_fingerprint
from transforms.versions import versions

if TYPE_CHECKING:
    from pipelines.options.cluster_options import ClusterOptions


PACKAGES = ("apache-beam", "pyarrow", "numpy", "pandas")


def make_clusters(options: ClusterOptions) -> dict[str, Any]:
    """Plans, makes clusters, and commits.

    Raises:
        UserError: the input, the output folder or a flag cannot be used.
        RunError: the run failed; what it finished is kept for the next one.
    """
    started = time.time()
    beam_options = beam_interface.beam_options(options.beam_flags)
    dataflow.configure(beam_options, step="cluster", paths=options.paths())
    tables = plan_pair_tables(options)
    key = shard_account.run_key(step="cluster", versions=versions(PACKAGES), **options.identity())
    inputs = inputs_fingerprint([table.shard for table in tables.shards])
    buckets = max(1, -(-tables.pairs // options.edges_at_once))
    if jobs.adopt(beam_options, step="cluster", output=options.output, identity=[key, inputs]):
        same_run.check_made(files.join(options.output, shard_account.MANIFEST), "run_key", key)
        return print_clusters(options.output)
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
        run_clustering(
            options, tables, Exchange(folder, buckets, work.claim), commit, key, beam_options
        )
    return {} if dataflow.only_staged(beam_options) else print_clusters(options.output)


def run_clustering(
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
        inputs_fingerprint([table.shard for table in tables.shards]),
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
        commit_once(
            pipeline,
            commit,
            parts=beam.pvalue.AsIter(parts),
            notes=beam.pvalue.AsIter(made["notes"]),
        )


def print_clusters(output: str) -> dict[str, Any]:
    """Prints the result and where it is; returns the manifest."""
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
