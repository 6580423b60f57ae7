"""Writes blocks: rows by sentence, their distinct sentences, and the file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.accounts.claims import Claim
from transforms.accounts.shard_writer import ShardWriter
from transforms.input.search_names import ID, SENTENCE
from transforms.vector_blocks.vector_block import single

_BATCH = 16_384


def gather_rows(batches: Sequence[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    """Rows of any order → rows by sentence, then by id."""
    table = pa.Table.from_batches(batches, schema)
    order = pc.sort_indices(table, sort_keys=[(SENTENCE, "ascending"), (ID, "ascending")])
    return table.take(order)


def distinct(table: pa.Table) -> tuple[pa.Array, np.ndarray]:
    """The distinct sentences of rows in order, and where the rows of each begin: [n], [n + 1]."""
    if not table.num_rows:
        return pa.array([], pa.large_string()), np.zeros(1, np.int64)
    # The rows are sorted by sentence: equal sentences are neighbours, and the dictionary, which
    # Arrow fills in order of appearance, is sorted too. A sentence's rows begin where the index
    # changes.
    encoded = table[SENTENCE].combine_chunks().dictionary_encode()
    places = encoded.indices.to_numpy()
    starts = np.flatnonzero(np.diff(places, prepend=-1))
    return encoded.dictionary, np.append(starts, table.num_rows).astype(np.int64)


def write_block(claim: Claim, name: str, table: pa.Table, vectors: np.ndarray) -> None:
    """Writes rows in order, and the vectors [n, d] of their distinct sentences, as a block."""
    sentences, starts = distinct(table)
    rows = table.drop_columns([SENTENCE]).combine_chunks()
    arrays = [single(column) for column in rows.columns]
    struct = pa.StructArray.from_arrays(arrays, fields=list(rows.schema))
    lists = pa.LargeListArray.from_arrays(pa.array(starts), struct)
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).ravel())
    matrix = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    columns = {"sentence": sentences, "vector": matrix, "rows": lists}
    write_block_table(claim, name, pa.table(columns))


def write_block_table(claim: Claim, name: str, table: pa.Table) -> None:
    """Writes a block: `sentence`, `vector` and `rows`, a row for each sentence."""
    with ShardWriter(claim, name, table.schema, "", "none") as writer:
        for batch in table.combine_chunks().to_batches(max_chunksize=_BATCH):
            writer.write(batch)
        writer.finish()
