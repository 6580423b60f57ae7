"""The tasks that make clusters of components: labels, sizes, cuts, ids, and what is written."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from transforms.accounts.claims import Claim
from transforms.accounts.shard_account import ShardAccount, WrittenFile, write_account
from transforms.accounts.shard_writer import ShardWriter
from transforms.clustering import identity, stars
from transforms.clustering.components import Before
from transforms.clustering.graph_tables import as_array, distinct_nodes
from transforms.clustering.shown import describe, summarise_clusters
from transforms.clustering.weakest import Edges, cut_weakest, strongest_forest
from transforms.input.shards import Shard
from transforms.storage.exchange import Exchange

SOURCE = "the input"


@dataclass(frozen=True)
class ClusterSettings:
    """What determines the clusters, apart from the pairs.

    Attributes:
        output: the output folder.
        run_key: see `transforms.accounts.shard_account.run_key`.
        inputs: fingerprint of all that is read.
        shards: names of the shards of pairs, rows and earlier clusters that were passed on.
        rows: names of the shards of a table of all rows, where there is one.
        previous: names of the shards of earlier clusters.
        most: rows of the largest cluster that is no matter of concern; None for any.
        cut: whether larger ones are cut at their weakest edges.
        run: that has claimed the output folder; None where no other writer is kept out.
    """

    output: str
    run_key: str
    inputs: str
    shards: tuple[str, ...]
    rows: tuple[str, ...] = ()
    previous: tuple[str, ...] = ()
    most: int | None = None
    cut: bool = False
    run: str | None = None

    @property
    def claim(self) -> Claim:
        """What the run writes by."""
        return Claim(self.output, self.run)


def cluster_shard(bucket: int, buckets: int, inputs: str) -> Shard:
    """What a bucket of clusters is in the plan; its rows are counted where pairs are read."""
    name = f"clusters-{bucket:05d}-of-{buckets:05d}.parquet"
    return Shard(SOURCE, inputs, name, bucket, bucket + 1, 0)


def label_nodes(bucket: int, left: Before, exchange: Exchange, settings: ClusterSettings) -> int:
    """Hands on the nodes of a bucket, and the edges of their components, by component.

    Returns:
        How many nodes there are.
    """
    done = exchange.done("labelled", bucket)
    if done is not None:  # it is the last to be written
        return done["nodes"]
    # The last round left stars, each edge in both directions: (node, least node of its component)
    # is the direction wanted. A node without such an edge is the least of its own component.
    found = as_array(exchange.read(left.step, left.tasks, bucket))
    found = stars.distinct(found[found[:, 0] > found[:, 1]])
    edges = exchange.read("edges", settings.shards, bucket)
    if edges is not None:
        clusters = component_of(edges["first"].to_numpy(), found)
        exchange.write("held", bucket, edges, exchange.buckets_of(clusters))
    else:
        exchange.note("held", bucket, {})
    nodes = exchange.read("nodes", [*settings.shards, *settings.rows], bucket)
    if nodes is None:
        return exchange.note("labelled", bucket, {"nodes": 0})["nodes"]
    nodes = distinct_nodes(nodes)
    nodes = nodes.append_column("previous", _previous(nodes, bucket, exchange, settings))
    clusters = component_of(nodes["node"].to_numpy(), found)
    table = nodes.append_column("cluster", pa.array(clusters))
    notes = {"nodes": table.num_rows}
    exchange.write("labelled", bucket, table, exchange.buckets_of(clusters), notes)
    return table.num_rows


def component_of(nodes: np.ndarray, found: np.ndarray) -> np.ndarray:
    """The least node of each node's component: uint64 [n], stars [m, 2] in order → uint64 [n]."""
    if not len(found):
        return nodes.copy()
    places = np.minimum(np.searchsorted(found[:, 0], nodes), len(found) - 1)
    return np.where(found[places, 0] == nodes, found[places, 1], nodes)


def _previous(
    nodes: pa.Table, bucket: int, exchange: Exchange, settings: ClusterSettings
) -> pa.Array:
    """The id of the earlier cluster of each node, null where it had none."""
    kind = nodes.schema.field("id").type
    earlier = (
        exchange.read("previous", list(settings.previous), bucket) if settings.previous else None
    )
    if earlier is None:
        return pa.nulls(nodes.num_rows, kind)
    places = pc.index_in(nodes["node"].combine_chunks(), earlier["node"].combine_chunks())
    return earlier["previous"].combine_chunks().take(places)


@dataclass(frozen=True)
class Gathered:
    """A bucket of clusters: their rows (see `identity.claims`), and the edges that hold them."""

    members: pd.DataFrame
    schema: pa.Schema
    forest: Edges
    gone: Edges


def gather_clusters(bucket: int, exchange: Exchange, settings: ClusterSettings) -> Gathered | None:
    """The clusters of a bucket, cut where that is wanted; None where there are none."""
    tasks = range(exchange.buckets)
    table = exchange.read("labelled", tasks, bucket)
    if table is None:
        return None
    held = exchange.read("held", tasks, bucket)
    edges = Edges.join([]) if held is None else Edges(as_array(held), held["similarity"].to_numpy())
    members = as_frame(table)
    if settings.cut and settings.most:
        forest, gone = cut_weakest(edges, settings.most)
        # A cut edge divides the component, so the pieces are found anew, from the edges that are
        # left.
        members["cluster"] = component_of(
            members["node"].to_numpy(np.uint64), stars.as_stars(forest.ends)
        )
    else:
        forest, gone = strongest_forest(edges), Edges.join([])
    return Gathered(members, table.schema, forest, gone)


def as_frame(table: pa.Table) -> pd.DataFrame:
    """Rows for pandas: integers stay integers even if some are null.

    Without these types pandas makes floats of them, which hold no integer above 2⁵³ exactly.
    """
    kinds = {
        pa.int64(): pd.Int64Dtype(),
        pa.uint64(): pd.UInt64Dtype(),
        pa.int32(): pd.Int32Dtype(),
    }
    frame = table.to_pandas(types_mapper=kinds.get)
    frame["cluster"] = frame["cluster"].astype(np.uint64)
    return frame


def write_clusters(
    bucket: int, exchange: Exchange, settings: ClusterSettings
) -> tuple[ShardAccount, dict[str, Any]]:
    """Writes the clusters of a bucket; returns the account, and what the page shows of them."""
    started = time.time()
    shard = cluster_shard(bucket, exchange.buckets, settings.inputs)
    gathered = gather_clusters(bucket, exchange, settings)
    written: tuple[WrittenFile, ...] = ()
    shown: dict[str, Any] = {}
    counts = {"rows_clustered": 0, "clusters": 0, "clusters_of_one": 0}
    if gathered is not None:
        named = name_clusters(bucket, gathered, exchange, settings)
        table = _as_written(named, gathered.schema, bool(settings.previous))
        with ShardWriter(settings.claim, shard.name, table.schema, "", "zstd") as writer:
            for batch in table.to_batches(max_chunksize=65_536):
                writer.write(batch)
            written = (writer.finish(),)
        summary = summarise_clusters(named, gathered.forest)
        counts = {
            "rows_clustered": len(named),
            "clusters": len(summary),
            "clusters_of_one": int((summary["size"] == 1).sum()),
            "edges_cut": len(gathered.gone.weights),
        }
        shown = describe(named, summary, gathered.forest, settings.most)
    account = ShardAccount(
        shard.to_json(), settings.run_key, 0, 0, 0, {}, counts, written, started, time.time()
    )
    write_account(settings.claim, account)
    return account, shown


def name_clusters(
    bucket: int, gathered: Gathered, exchange: Exchange, settings: ClusterSettings
) -> pd.DataFrame:
    """The members with `cluster_id` and `cluster_size`, in the order they are written in."""
    members = gathered.members
    least = members.groupby("cluster")["id"].min()
    won = (
        exchange.read("heirs", list(range(exchange.buckets)), bucket) if settings.previous else None
    )
    ids = least if won is None else identity.cluster_ids(least, as_frame(won))
    members["cluster_id"] = members["cluster"].map(ids).astype(members["id"].dtype)
    members["cluster_size"] = members.groupby("cluster")["id"].transform("size").astype(np.int64)
    return members.sort_values(["cluster_id", "id"], kind="stable", ignore_index=True)


def _as_written(named: pd.DataFrame, schema: pa.Schema, earlier: bool) -> pa.Table:
    kind = schema.field("id").type
    columns = {"id": pa.array(named["id"], kind, from_pandas=True)}
    if "sentence" in named:
        columns["sentence"] = pa.array(named["sentence"], pa.string(), from_pandas=True)
    columns["cluster_id"] = pa.array(named["cluster_id"], kind, from_pandas=True)
    columns["cluster_size"] = pa.array(named["cluster_size"], pa.int64())
    if earlier:
        columns["previous_cluster_id"] = pa.array(named["previous"], kind, from_pandas=True)
    return pa.table(columns)
