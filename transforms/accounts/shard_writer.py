"""Writes a Parquet file that appears complete under its final name, or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.accounts.claims import Claim
from transforms.accounts.shard_account import WrittenFile
from transforms.storage import files


class ShardWriter:
    """A Parquet file of a shard, written hidden and revealed by `finish`.

    The file is opened with the first rows, or by `finish`, so one that gets none and is never
    finished leaves nothing. Left without `finish`, what was written is deleted.
    """

    def __init__(
        self,
        claim: Claim,
        name: str,
        schema: pa.Schema,
        source: str,
        compression: str = "zstd",
        times_in_utc: bool = False,
    ):
        """Takes where to write, what, how, and from which input file it comes.

        `times_in_utc` says of all times of day that they are UTC's.
        """
        self.schema = schema
        self.rows = 0
        self._claim = claim
        self._name = name
        self._source = source
        self._compression = compression
        self._times_in_utc = times_in_utc
        self._opened: _Opened | None = None

    def __enter__(self) -> ShardWriter:
        """Itself."""
        return self

    def write(self, batch: pa.RecordBatch) -> None:
        """Appends rows, as a separate row group."""
        if batch.num_rows:
            self._open().writer.write_batch(batch)
            self.rows += batch.num_rows

    def finish(self) -> WrittenFile:
        """Closes the file and gives it its final name."""
        opened = self._open()
        opened.close()
        self._claim.reveal(opened.hidden, self._name)
        self._opened = None
        return WrittenFile(self._name, self.rows, opened.file.sha256, self._source)

    def _open(self) -> _Opened:
        if self._opened is None:
            hidden, file = files.create_hidden(self._claim.folder, self._name)
            sink = pa.PythonFile(file, mode="w")
            writer = pq.ParquetWriter(
                sink,
                self.schema,
                compression=self._compression,
                write_time_adjusted_to_utc=self._times_in_utc,
            )
            self._opened = _Opened(hidden, file, writer)
        return self._opened

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Deletes what was not finished."""
        if self._opened is not None:
            try:
                self._opened.abandon()
            finally:
                files.delete([self._opened.hidden])


@dataclass(frozen=True)
class _Opened:
    """The file as it is being written."""

    hidden: str
    file: files.HashingFile
    writer: pq.ParquetWriter

    def close(self) -> None:
        self.writer.close()
        self.file.close()

    def abandon(self) -> None:
        self.file.abandon()
        self.close()
