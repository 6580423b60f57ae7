"""A block: distinct sentences with their vectors, and the rows that each of them is in.

Blocks are the pieces that are compared with each other. One is a Parquet file with a row for each
distinct sentence, in the order of the sentences, and its rows (id and kept columns) in a list, in
the order of the ids; so its bytes depend on what is in it alone.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import numpy as np
import pyarrow as pa

from transforms.accounts.claims import SHARDS_FOLDER, Claim
from transforms.input.search_names import Side
from transforms.storage import files
from transforms.storage.parquet import read_table

BLOCKS_FOLDER = f"{SHARDS_FOLDER}/blocks"
BLOCK, RAW = "block", "raw"


def nowhere() -> np.ndarray:
    """The homes of vectors that visit no cells."""
    return np.zeros(0, np.int64)


@dataclass(frozen=True)
class VectorBlock:
    """Sentences, vectors and rows.

    Attributes:
        sentences: distinct, in order, large_string [n].
        vectors: float32 [n, d].
        starts: where each sentence's rows begin, int64 [n + 1].
        rows: id and kept columns of all rows, sentence by sentence.
        homes: where each vector lives, int64 [n]; empty where vectors visit no cells.
        visits: the cells that each one visits, in order, int64 [n, v].
    """

    sentences: pa.Array
    vectors: np.ndarray
    starts: np.ndarray
    rows: pa.StructArray
    homes: np.ndarray = field(default_factory=nowhere)
    visits: np.ndarray = field(default_factory=nowhere)

    def __len__(self) -> int:
        return len(self.sentences)

    @property
    def counts(self) -> np.ndarray:
        """How many rows each sentence is in, int64 [n]."""
        return np.diff(self.starts)


@dataclass(frozen=True)
class BlockAccount:
    """The result of a block.

    Attributes:
        side: `left` or `right`.
        number: of the block.
        key: the run's key and the input's fingerprint.
        sentences: distinct sentences in it.
        rows: rows in it.
        encoded: sentences that the model had to encode.
        kind: `block`, or `raw` where its sentences are still to be divided into cells.
        widest: the greatest distance from the cell's centroid.
    """

    side: Side
    number: int
    key: str
    sentences: int
    rows: int
    encoded: int
    kind: str = BLOCK
    widest: float = 0.0


def block_name(side: str, number: int, kind: str = BLOCK) -> str:
    """The name of a block's file below the output folder."""
    return f"{BLOCKS_FOLDER}/{side}-{kind}-{number:05d}.parquet"


def single(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array."""
    combined = column.combine_chunks()
    return pa.concat_arrays(combined.chunks) if isinstance(combined, pa.ChunkedArray) else combined


def read_block_table(output: str, name: str) -> pa.Table:
    """A block that was written, as its table."""
    return read_table(files.join(output, *name.split("/")))


def vectors_of(table: pa.Table) -> np.ndarray:
    """The vectors of a block's table, float32 [n, d]."""
    dimensions = table.schema.field("vector").type.list_size
    return single(table["vector"]).flatten().to_numpy().reshape(-1, dimensions)


def read_block(output: str, name: str) -> VectorBlock:
    """A block that was written."""
    return as_block(read_block_table(output, name))


def as_block(table: pa.Table) -> VectorBlock:
    """A block's table as a block."""
    lists = single(table["rows"])
    starts = lists.offsets.to_numpy() if len(lists) else np.zeros(1, np.int64)
    found = single(table["sentence"]), vectors_of(table), starts - starts[0], lists.flatten()
    if "home" not in table.schema.names:
        return VectorBlock(*found)
    visits = table.schema.field("visits").type.list_size
    cells = single(table["visits"]).flatten().to_numpy().reshape(-1, visits).astype(np.int64)
    return VectorBlock(*found, table["home"].to_numpy().astype(np.int64), cells)


def with_visits(table: pa.Table, homes: np.ndarray, visits: np.ndarray) -> pa.Table:
    """A block's table, and where its vectors live [n] and what they visit [n, v]."""
    flat = pa.array(np.ascontiguousarray(visits, np.int32).ravel())
    cells = pa.FixedSizeListArray.from_arrays(flat, visits.shape[1])
    return table.append_column("home", pa.array(homes.astype(np.int32))).append_column(
        "visits", cells
    )


def write_block_account(claim: Claim, account: BlockAccount) -> BlockAccount:
    """Commits a block: from here on it is not made again."""
    name = block_name(account.side, account.number, account.kind).removesuffix(".parquet") + ".json"
    claim.write(name, files.as_json(asdict(account)))
    return account


def read_block_accounts(output: str, key: str, kind: str = BLOCK) -> list[BlockAccount]:
    """The accounts of blocks of a kind that were made for the same run and input."""
    folder = files.join(output, *BLOCKS_FOLDER.split("/"))
    names = [name for name in files.list_folder(folder) if name.endswith(".json")]
    accounts = [BlockAccount(**files.read_json(files.join(folder, name))) for name in names]
    return [account for account in accounts if (account.key, account.kind) == (key, kind)]
