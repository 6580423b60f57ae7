"""Plans the work: input files and their row groups → shards, and reads a shard in bounded batches.

A shard is a run of row groups of one file: the unit of work, of output, of retry and of resuming.
The plan depends on the input files alone, never on the machine, so a second run makes the same one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from transforms import files
from transforms.errors import RunError, UserError
from transforms.pairs import PairColumns, check_schema

MAGIC = b"PAR1"
ENCRYPTED_MAGIC = b"PARE"
BATCH_ROWS = 65_536
BATCH_BYTES = 64 << 20


@dataclass(frozen=True)
class Shard:
    """A run of row groups of one input file.

    Attributes:
        source: path of the input file.
        fingerprint: of the file's size and footer, to notice when it changes.
        name: the file name of what is written for this shard.
        first_row_group: the first row group.
        end_row_group: one past the last row group.
        rows: rows in these row groups.
    """

    source: str
    fingerprint: str
    name: str
    first_row_group: int
    end_row_group: int
    rows: int

    def to_json(self) -> dict[str, Any]:
        """As plain values, for an account."""
        return asdict(self)


@dataclass(frozen=True)
class Footer:
    """What a Parquet file says of itself."""

    fingerprint: str
    schema: pa.Schema
    rows: tuple[int, ...]


def plan_shards(patterns: Sequence[str], columns: PairColumns, *, shard_rows: int) -> list[Shard]:
    """Finds the input, checks every file's footer, and cuts the files into shards.

    Args:
        patterns: paths or globs, local or `gs://`.
        columns: the columns every file must have.
        shard_rows: how many rows a shard should have; a single larger row group stays whole.

    Raises:
        UserError: names the file and what is wrong with it; nothing was done.
    """
    found = files.find(patterns)
    with ThreadPoolExecutor(max_workers=16) as pool:  # object storage answers slowly, not busily
        footers = list(pool.map(lambda file: checked_footer(file.path, columns), found))
    shards = [
        shard
        for file, footer in zip(found, footers, strict=True)
        for shard in cut(file.path, file.name, footer, shard_rows)
    ]
    _check_names(shards)
    return shards


def checked_footer(path: str, columns: PairColumns) -> Footer:
    """A file's footer, once its columns are seen to be usable."""
    footer = read_footer(path)
    check_schema(footer.schema, columns, path)
    return footer


def cut(source: str, name: str, footer: Footer, shard_rows: int) -> list[Shard]:
    """Cuts one file into shards of whole row groups, each of about `shard_rows` rows."""
    bounds, taken = [0], 0
    for group, rows in enumerate(footer.rows):
        if taken and taken + rows > shard_rows:
            bounds.append(group)
            taken = 0
        taken += rows
    bounds.append(len(footer.rows))
    stem, count = name.removesuffix(".parquet"), len(bounds) - 1
    return [
        Shard(
            source=source,
            fingerprint=footer.fingerprint,
            name=f"{stem}-{place:05d}-of-{count:05d}.parquet",
            first_row_group=first,
            end_row_group=end,
            rows=sum(footer.rows[first:end]),
        )
        for place, (first, end) in enumerate(zip(bounds, bounds[1:], strict=False))
    ]


def _check_names(shards: Sequence[Shard]) -> None:
    sources: dict[str, str] = {}
    for shard in shards:
        other = sources.setdefault(shard.name, shard.source)
        if other != shard.source:
            raise UserError(
                f"{other} and {shard.source} would both be written as {shard.name}; "
                "give them different names, or name their common folder with one pattern"
            )


def read_footer(path: str) -> Footer:
    """Reads the footer of a Parquet file and nothing else of it.

    Raises:
        UserError: the file cannot be read as Parquet; says why.
    """
    try:
        with files.open_input(path) as file:
            fingerprint = _fingerprint(path, file)
            parquet = pq.ParquetFile(file)
            metadata = parquet.metadata
            rows = tuple(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups))
            return Footer(fingerprint, parquet.schema_arrow, rows)
    except UserError:
        raise
    except PermissionError:
        raise UserError(f"{path} may not be read: permission denied") from None
    except (OSError, pa.ArrowException, ValueError) as error:
        reason = str(error).splitlines()[0].rstrip(". ")
        raise UserError(f"{path} cannot be read as Parquet: {reason}") from None


def _fingerprint(path: str, file: pa.NativeFile) -> str:
    size = file.size()
    tail = file.read_at(min(8, size), max(size - 8, 0))
    if tail[-4:] == ENCRYPTED_MAGIC:
        raise UserError(f"{path} has an encrypted footer; decrypt it first")
    length = int.from_bytes(tail[:4], "little")
    if tail[-4:] != MAGIC or length + 12 > size:
        raise UserError(
            f"{path} is not a whole Parquet file ({size} bytes, no footer at its end); "
            "it is of another kind, or was cut"
        )
    footer = file.read_at(length, size - 8 - length)
    return hashlib.sha256(size.to_bytes(8, "little") + footer).hexdigest()[:32]


def read_shard(
    shard: Shard, *, columns: Sequence[str] | None = None, batch_bytes: int = BATCH_BYTES
) -> Iterator[pa.RecordBatch]:
    """The rows of a shard, in order, in batches bounded in rows and bytes.

    Args:
        shard: what to read.
        columns: names of the columns to read; all without it.
        batch_bytes: about how large a batch may be.

    Raises:
        RunError: the file is not the one that was planned with.
    """
    with files.open_input(shard.source) as file:
        if _fingerprint(shard.source, file) != shard.fingerprint:
            raise RunError(f"{shard.source} changed while the run was reading it; run again")
        parquet = pq.ParquetFile(file)
        groups = list(range(shard.first_row_group, shard.end_row_group))
        rows = _batch_rows(parquet.metadata, groups, batch_bytes)
        schema = parquet.schema_arrow
        if columns is not None:
            schema = pa.schema([schema.field(name) for name in columns])
        for batch in parquet.iter_batches(
            batch_size=rows, row_groups=groups, columns=columns, use_threads=False
        ):
            batch = batch.select(schema.names)
            yield pa.RecordBatch.from_arrays(batch.columns, schema=schema)


def shard_schema(shard: Shard) -> pa.Schema:
    """The Arrow schema of the shard's file."""
    with files.open_input(shard.source) as file:
        return pq.ParquetFile(file).schema_arrow


def _batch_rows(metadata: pq.FileMetaData, groups: Sequence[int], batch_bytes: int) -> int:
    rows = sum(metadata.row_group(group).num_rows for group in groups)
    size = sum(metadata.row_group(group).total_byte_size for group in groups)
    if not rows or not size:
        return BATCH_ROWS
    return max(1, min(BATCH_ROWS, batch_bytes * rows // size))
