"""Reads pairs: edges between nodes, and what the nodes are called."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.accounts.claims import Claim
from transforms.accounts.shard_account import (
    ShardAccount,
    find_account,
    rejects_name,
    write_account,
)
from transforms.accounts.shard_writer import ShardWriter
from transforms.clustering import stars
from transforms.clustering.graph_tables import (
    as_array,
    distinct_nodes,
    node_numbers,
    write_edges,
)
from transforms.columns import as_floats, as_ids, as_text, holds_text, id_type, is_number
from transforms.errors import UserError
from transforms.input.read_shards import ShardReader
from transforms.input.shards import Shard
from transforms.pairs import keep_rows, reject_reasons, rejected_schema, with_reject
from transforms.storage.exchange import Exchange

ID_NULL = "id_null"
SIMILARITY_INVALID = "similarity_invalid"


@dataclass(frozen=True)
class PairTable:
    """How pairs are read.

    Attributes:
        ids: columns of the two ids.
        sentences: columns of the two sentences; none where the files have none.
        similarity: column of the similarity.
        least: pairs below are left out; None for none.
        label: always None: nothing is read as a label.
    """

    ids: tuple[str, str] = ("id1", "id2")
    sentences: tuple[str, str] | None = ("sentence1", "sentence2")
    similarity: str = "similarity"
    least: float | None = None
    label: None = None

    @property
    def texts(self) -> tuple[str, ...]:
        """No column is checked as a sentence: ids may be numbers."""
        return ()

    @property
    def maybe_in_folders(self) -> tuple[str, ...]:
        """None: a pair's columns differ from row to row."""
        return ()

    @property
    def flagged(self) -> list[tuple[str, str]]:
        """None, as above."""
        return []


def node_schema(schema: pa.Schema, table: PairTable, source: str) -> pa.Schema:
    """What is kept of a node: its number, its id and, where there is one, its sentence.

    Raises:
        UserError: a column is missing, or cannot be what it is taken for.
    """
    wanted = [*table.ids, table.similarity, *(table.sentences or ())]
    for name in wanted:
        if name not in schema.names:
            raise UserError(
                f"{source}: no column {name!r}; it has {', '.join(schema.names[:12])}; expected "
                "pairs as find writes them, or name yours (see --help)"
            )
    types = [id_kind(schema.field(name).type, name, source) for name in table.ids]
    if types[0] != types[1]:
        raise UserError(
            f"{source}: {table.ids[0]!r} is {types[0]}, {table.ids[1]!r} is {types[1]}; rows of "
            "two tables cannot be clustered unless their ids have the same type"
        )
    similarity = schema.field(table.similarity).type
    if not is_number(similarity):
        raise UserError(f"{source}: {table.similarity!r} is {similarity}, expected numbers")
    for name in table.sentences or ():
        check_text(schema.field(name).type, name, source)
    fields = [pa.field("node", pa.uint64()), pa.field("id", types[0])]
    return pa.schema(fields + ([pa.field("sentence", pa.string())] if table.sentences else []))


def check_text(found: pa.DataType, name: str, source: str) -> None:
    """Checks that a column can hold sentences.

    Raises:
        UserError: it cannot.
    """
    if not holds_text(found):
        raise UserError(f"{source}: {name!r} is {found}, expected text; name yours (see --help)")


def id_kind(found: pa.DataType, name: str, source: str) -> pa.DataType:
    """The type an id is read as.

    Raises:
        UserError: it is neither whole numbers nor text.
    """
    if (kind := id_type(found)) is not None:
        return kind
    raise UserError(f"{source}: {name!r} is {found}, expected whole numbers or text")


def read_edges(
    shard: Shard, table: PairTable, schema: pa.Schema, exchange: Exchange, key: str, claim: Claim
) -> ShardAccount:
    """Hands on the edges, stars and nodes of a shard of pairs, and accounts for its rows."""
    started, reasons, below, used = time.time(), Counter[str](), 0, 0
    edges, nodes = [], []
    with (
        ShardReader(shard) as reader,
        ShardWriter(
            claim, rejects_name(shard.name), rejected_schema(reader.schema), shard.source, "zstd"
        ) as rejects,
    ):
        for batch in reader.batches():
            good, *bad = _checked(batch, table)
            for part in bad:
                rejects.write(part)
                reasons.update(reject_reasons(part))
            used += good.num_rows
            near = _near(good, table)
            below += good.num_rows - near.num_rows
            found, called = _as_edges(near, table, schema)
            edges.append(found)
            nodes.append(called)
        written = (rejects.finish(),) if rejects.rows else ()
        account = ShardAccount(
            shard.to_json(), key, used + rejects.rows, used, rejects.rows, dict(reasons),
            {"pairs_below": below, "pairs_used": used - below}, written, started, time.time(),
        )  # fmt: skip
    # First what the next steps read, the stars last, then the account: `read_cluster_table` takes a
    # shard that has both of these for done.
    _hand_on(shard.name, edges, nodes, schema, exchange)
    if find_account(claim.folder, shard, key) is None:
        write_account(claim, account)
    return account


def _hand_on(
    name: str, edges: list[pa.Table], nodes: list[pa.Table], schema: pa.Schema, exchange: Exchange
) -> None:
    table = pa.concat_tables([EDGE_SCHEMA.empty_table(), *edges]).combine_chunks()
    called = distinct_nodes(pa.concat_tables([schema.empty_table(), *nodes]))
    exchange.write("nodes", name, called, exchange.buckets_of(called["node"].to_numpy()))
    # An edge waits in the bucket of its greater node, where `label_nodes` learns its component. The
    # stars, which become components, start from the same edges but carry no similarity.
    exchange.write("edges", name, table, exchange.buckets_of(table["first"].to_numpy()))
    write_edges(exchange, "stars-0", name, stars.as_stars(as_array(table)))


EDGE_SCHEMA = pa.schema(
    [("first", pa.uint64()), ("second", pa.uint64()), ("similarity", pa.float32())]
)


def _checked(batch: pa.RecordBatch, table: PairTable) -> list[pa.RecordBatch]:
    """Rows that can be used, then those that cannot, with the reason."""
    missing = np.zeros(batch.num_rows, bool)
    for name in table.ids:
        missing |= as_ids(batch.column(name)).is_null().to_numpy(zero_copy_only=False)
    finite = np.isfinite(as_floats(batch.column(table.similarity)))
    parts = [keep_rows(batch, ~missing & finite)]
    for mask, reason, detail in (
        (missing, ID_NULL, f"{table.ids[0]} or {table.ids[1]} is null or no UTF-8"),
        (~missing & ~finite, SIMILARITY_INVALID, f"{table.similarity} is no number"),
    ):
        if mask.any():
            parts.append(with_reject(keep_rows(batch, mask), reason, detail))
    return parts


def _near(batch: pa.RecordBatch, table: PairTable) -> pa.RecordBatch:
    if table.least is None:
        return batch
    similarity = _similarities(batch, table)
    near = pc.greater_equal(similarity, pa.scalar(table.least, pa.float32()))
    return keep_rows(batch, near.to_numpy(zero_copy_only=False))


def _similarities(batch: pa.RecordBatch, table: PairTable) -> pa.Array:
    return pa.array(as_floats(batch.column(table.similarity)).astype(np.float32))


def _as_edges(
    batch: pa.RecordBatch, table: PairTable, schema: pa.Schema
) -> tuple[pa.Table, pa.Table]:
    """Edges with their similarity, and the nodes at their ends."""
    ids = [as_ids(batch.column(name)) for name in table.ids]
    numbers = [node_numbers(column) for column in ids]
    similarity = _similarities(batch, table)
    columns = [np.maximum(*numbers), np.minimum(*numbers), similarity]
    called = []
    for side in (0, 1):
        node = [pa.array(numbers[side]), ids[side]]
        if table.sentences:
            node.append(as_text(batch.column(table.sentences[side])).cast(pa.string()))
        called.append(pa.table(node, schema=schema))
    return pa.table(columns, schema=EDGE_SCHEMA), pa.concat_tables(called)
