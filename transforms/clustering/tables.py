"""Reads what clusters are made from in addition to pairs: all rows, and earlier clusters."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from transforms.accounts.claims import Claim
from transforms.accounts.shard_account import ShardAccount, find_account, write_account
from transforms.clustering.components import FIRST, NO_EDGES, TaskDone
from transforms.clustering.edges import PairTable, read_edges
from transforms.clustering.graph_tables import distinct_nodes, node_numbers
from transforms.columns import as_ids, as_text
from transforms.errors import RunError
from transforms.input.read_shards import read_shard
from transforms.input.shards import Shard
from transforms.storage.exchange import Exchange

Kind = Literal["pairs", "rows", "previous"]


@dataclass(frozen=True)
class ClusterShard:
    """A shard, and what it is a shard of."""

    kind: Kind
    shard: Shard

    def to_json(self) -> dict[str, Any]:
        """As plain values, for a list of very many."""
        return {"kind": self.kind, "shard": self.shard.to_json()}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> ClusterShard:
        """From those of `to_json`."""
        return cls(content["kind"], Shard.from_json(content["shard"]))


@dataclass(frozen=True)
class ReadSettings:
    """How tables are read.

    Attributes:
        output: the output folder.
        run_key: see `transforms.accounts.shard_account.run_key`.
        pairs: the pairs.
        schema: of nodes (see `transforms.clustering.edges.node_schema`).
        row_columns: id and, where nodes have one, sentence of the table of all rows.
        run: that has claimed the output folder; None where no other writer is kept out.
    """

    output: str
    run_key: str
    pairs: PairTable
    schema: pa.Schema
    row_columns: tuple[str, ...] = ()
    run: str | None = None

    @property
    def claim(self) -> Claim:
        """What the run writes by."""
        return Claim(self.output, self.run)


def read_cluster_table(
    table: ClusterShard, exchange: Exchange, settings: ReadSettings
) -> tuple[TaskDone, ShardAccount]:
    """Reads a shard of any table, passes on what is in it, and accounts for its rows."""
    shard, key = table.shard, settings.run_key
    if table.kind == "pairs":
        account = find_account(settings.output, shard, key)
        notes = exchange.done(FIRST, shard.name)
        if account is None or notes is None:
            account = read_edges(
                shard, settings.pairs, settings.schema, exchange, key, settings.claim
            )
            notes = exchange.done(FIRST, shard.name) or {}
        return TaskDone(FIRST, shard.name, notes["signature"]), account
    if table.kind == "rows":
        rows = _read_rows(shard, exchange, settings)
    else:
        rows = _read_previous(shard, exchange, settings)
    # Rows of these tables are no pairs: the plan says 0 of them, the account counts them apart.
    counts = {f"rows_of_{table.kind}": rows}
    started = time.time()
    account = ShardAccount(shard.to_json(), key, 0, 0, 0, {}, counts, (), started, started)
    write_account(settings.claim, account)
    return TaskDone(NO_EDGES, shard.name), account


def _read_rows(shard: Shard, exchange: Exchange, settings: ReadSettings) -> int:
    schema, count = settings.schema, 0
    parts = [schema.empty_table()]
    for batch in read_shard(shard, columns=list(settings.row_columns)):
        count += batch.num_rows
        ids = as_ids(batch.column(settings.row_columns[0]))
        columns = [pa.array(node_numbers(ids.drop_null())), ids.drop_null()]
        for name in settings.row_columns[1:]:
            texts = as_text(batch.column(name)).cast(pa.string())
            columns.append(texts.filter(ids.is_valid()))
        parts.append(pa.table(columns, schema=schema))
    nodes = distinct_nodes(pa.concat_tables(parts))
    exchange.write("nodes", shard.name, nodes, exchange.buckets_of(nodes["node"].to_numpy()))
    return count


def _read_previous(shard: Shard, exchange: Exchange, settings: ReadSettings) -> int:
    kind = settings.schema.field("id").type
    found, count = [], 0
    for batch in read_shard(shard, columns=["id", "cluster_id"]):
        count += batch.num_rows
        if pc.any(batch.column("id").is_null()).as_py():
            raise RunError(f"{shard.source} has rows without an id; it is not an output of cluster")
        numbers = pa.array(node_numbers(batch.column("id")))
        found.append(pa.table({"node": numbers, "previous": batch.column("cluster_id").cast(kind)}))
    empty = pa.schema([("node", pa.uint64()), ("previous", kind)]).empty_table()
    table = pa.concat_tables([empty, *found]).combine_chunks()
    exchange.write("previous", shard.name, table, exchange.buckets_of(table["node"].to_numpy()))
    return count
