"""Reads a shard in bounded batches, if its file still is the one that was planned with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.errors import RunError, UserError
from transforms.input.footers import fingerprint, read_metadata, read_tail
from transforms.input.int96 import check_int96
from transforms.input.parquet_columns import (
    Int96Unit,
    int96_columns,
    open_parquet,
    times_in_utc,
    written_schema,
)
from transforms.input.shards import Shard
from transforms.output_schema import extended_schema
from transforms.storage import files

BATCH_ROWS = 65_536
BATCH_BYTES = 64 << 20
NULL_LIST = (
    "Expected all lists to be of size"  # so Arrow says it (github.com/apache/arrow/issues/35692)
)


class ShardReader:
    """An open shard; its file's footer is read only once.

    Attributes:
        schema: of the shard's rows: the file's, and partitions that go into files.
        times_in_utc: whether the times of day in the file are UTC's, and have to be written so.
    """

    def __init__(self, shard: Shard):
        """Opens the shard's file.

        Raises:
            RunError: it is not the one that was planned with, or cannot be read.
        """
        self._shard = shard
        with _errors_named(shard):
            self._file, version = files.open_version(shard.source)
            try:
                self._parquet = _parquet(shard, self._file, version)
            except BaseException:
                self._file.close()
                raise
        self.schema = self._schema(None)
        self.times_in_utc = times_in_utc(self._parquet)

    def __enter__(self) -> ShardReader:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Closes the file."""
        self._file.close()

    def batches(
        self, *, columns: Sequence[str] | None = None, batch_bytes: int = BATCH_BYTES
    ) -> Iterator[pa.RecordBatch]:
        """The rows, in order, in batches bounded in rows and bytes; see `read_shard`."""
        shard, parquet = self._shard, self._parquet
        groups = list(range(shard.first_row_group, shard.end_row_group))
        schema = self._schema(columns)
        values = {partition.name: partition.scalar() for partition in shard.partitions}
        inside = [name for name in schema.names if name not in values]
        with _errors_named(shard):
            _check_times(shard, parquet, groups, inside)
            rows = _batch_rows(parquet.metadata, groups, batch_bytes)
            found = parquet.iter_batches(
                batch_size=rows, row_groups=groups, columns=columns and inside, use_threads=False
            )
        while True:
            with _errors_named(shard):
                batch = next(found, None)
            if batch is None:
                return
            arrays = [
                pa.repeat(values[name], batch.num_rows) if name in values else batch.column(name)
                for name in schema.names
            ]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _schema(self, columns: Sequence[str] | None) -> pa.Schema:
        wanted = [p for p in self._shard.partitions if p.in_file or (columns and p.name in columns)]
        fields = [partition.field for partition in wanted]
        schema = extended_schema(written_schema(self._parquet), fields)
        return schema if columns is None else pa.schema([schema.field(name) for name in columns])


def read_shard(
    shard: Shard, *, columns: Sequence[str] | None = None, batch_bytes: int = BATCH_BYTES
) -> Iterator[pa.RecordBatch]:
    """The rows of a shard, in order, in batches bounded in rows and bytes.

    Args:
        shard: what to read.
        columns: names of the columns to read, partitions among them; without it all of the file,
            and the partitions that go into files.
        batch_bytes: about how large a batch may be.

    Raises:
        RunError: the file is not the one that was planned with.
        UserError: an INT96 time cannot be kept in the shard's unit.
    """
    with ShardReader(shard) as reader:
        yield from reader.batches(columns=columns, batch_bytes=batch_bytes)


@contextmanager
def _errors_named(shard: Shard) -> Iterator[None]:
    """Says of errors in reading, and of no others, which file they are of and what to do."""
    groups = f"row groups {shard.first_row_group} to {shard.end_row_group - 1}"
    try:
        yield
    except FileNotFoundError:
        raise RunError(f"{shard.source} vanished after the run had looked at it") from None
    except pa.ArrowNotImplementedError as error:
        raise RunError(
            f"{shard.source}: {groups} hold what Arrow does not read ({files.reason(error)}); "
            "write the file without that column, or leave it out"
        ) from None
    except (OSError, pa.ArrowException) as error:
        if files.is_outage(error):  # the file may be a good one
            raise RunError(
                f"{shard.source} cannot be read now: {files.reason(error)}; run again"
            ) from None
        if NULL_LIST in str(error):  # the file is a good one, which Arrow itself may have written
            raise RunError(
                f"{shard.source}: {groups} hold a list of fixed size that is null, which Arrow "
                "does not read; write that column as a list of any size, or leave it out"
            ) from None
        raise RunError(
            f"{shard.source}: {groups} cannot be read ({files.reason(error)}); the file is "
            "damaged: repair it or leave it out"
        ) from None


def _parquet(shard: Shard, file: pa.NativeFile, version: str) -> pq.ParquetFile:
    """The shard's file, if it still is the one that was planned with."""
    try:
        tail = read_tail(shard.source, file)
        same = fingerprint(tail, file.size(), version) == shard.fingerprint
    except UserError:  # it has no footer any more
        same = False
    if not same:
        raise RunError(f"{shard.source} changed after the run had looked at it; run again")
    metadata = read_metadata(tail)
    return open_parquet(file, int96=shard.int96, metadata=metadata, page_checksum_verification=True)


def _check_times(
    shard: Shard, parquet: pq.ParquetFile, groups: Sequence[int], wanted: Sequence[str]
) -> None:
    names = [name for name in int96_columns(parquet) if name in wanted]
    if not names:
        return
    unit: Int96Unit = "ns" if shard.int96 == "us" else "us"
    with files.open_input(shard.source) as file:
        other = open_parquet(file, int96=unit, metadata=parquet.metadata)
        by_unit = {shard.int96: parquet, unit: other}
        check_int96(shard.source, by_unit["us"], by_unit["ns"], groups, names, shard.int96)


def _batch_rows(metadata: pq.FileMetaData, groups: Sequence[int], batch_bytes: int) -> int:
    rows = sum(metadata.row_group(group).num_rows for group in groups)
    size = sum(metadata.row_group(group).total_byte_size for group in groups)
    if not rows or not size:
        return BATCH_ROWS
    return max(1, min(BATCH_ROWS, batch_bytes * rows // size))
