"""Nodes and edges as tables, and on their way from step to step."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.clustering import stars
from transforms.errors import UserError
from transforms.hashing import text_hash
from transforms.storage.exchange import Exchange


def node_numbers(ids: pa.Array) -> np.ndarray:
    """The number of each id as a node, uint64 [n]."""
    return text_hash(ids.cast(pa.string()))


def distinct_nodes(nodes: pa.Table) -> pa.Table:
    """Each node once, in the order of the numbers; of several sentences the least.

    Raises:
        UserError: two ids have the same number (1 in 10⁴ with a hundred million ids).
    """
    keys = [("node", "ascending"), ("id", "ascending")]
    keys += [("sentence", "ascending")] if "sentence" in nodes.schema.names else []
    nodes = nodes.take(pc.sort_indices(nodes, sort_keys=keys)).combine_chunks()
    numbers = nodes["node"].to_numpy()
    first = np.ones(len(numbers), bool)
    first[1:] = numbers[1:] != numbers[:-1]
    kept = nodes.filter(pa.array(first))
    if pc.count_distinct(nodes["id"]).as_py() != kept.num_rows:
        raise UserError("two ids have the same hash of 64 bits; rename one of them")
    return kept


def as_array(table: pa.Table | None) -> np.ndarray:
    """Edges of a table → uint64 [n, 2]."""
    if table is None:
        return stars.NO_EDGES
    return np.stack([table["first"].to_numpy(), table["second"].to_numpy()], axis=1)


def write_edges(exchange: Exchange, step: str, task: int | str, edges: np.ndarray) -> dict:
    """Hands on edges in both directions, each to the bucket of its first node."""
    both = stars.both_ways(edges)
    table = pa.table({"first": both[:, 0], "second": both[:, 1]})
    notes = {"signature": stars.signature(edges)}
    return exchange.write(step, task, table, exchange.buckets_of(both[:, 0]), notes)
