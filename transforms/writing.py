"""Writes a Parquet file that is seen whole under its final name or not at all."""

from __future__ import annotations

from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

from transforms import files
from transforms.ledger import WrittenFile


class ShardWriter:
    """A Parquet file of a shard, written hidden and revealed by `finish`.

    The file is opened with the first rows, or by `finish`, so one that gets none and is never
    finished leaves nothing. Left without `finish`, what was written is deleted.
    """

    def __init__(self, folder: str, name: str, schema: pa.Schema, source: str, compression: str):
        """Takes where to write, what, and from which input file it comes."""
        self.schema = schema
        self.rows = 0
        self._folder = folder
        self._name = name
        self._source = source
        self._compression = compression
        self._hidden: str | None = None
        self._file: files.HashingFile | None = None
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> ShardWriter:
        """Itself."""
        return self

    def write(self, batch: pa.RecordBatch) -> None:
        """Appends rows, as a row group of their own."""
        if batch.num_rows:
            self._open().write_batch(batch)
            self.rows += batch.num_rows

    def finish(self) -> WrittenFile:
        """Closes the file and gives it its final name."""
        self._open().close()
        self._file.close()
        files.reveal(self._hidden, files.join(self._folder, *self._name.split("/")))
        self._hidden = None
        return WrittenFile(self._name, self.rows, self._file.sha256, self._source)

    def _open(self) -> pq.ParquetWriter:
        if self._writer is None:
            self._hidden, self._file = files.create_hidden(self._folder, self._name)
            self._writer = pq.ParquetWriter(
                pa.PythonFile(self._file, mode="w"), self.schema, compression=self._compression
            )
        return self._writer

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Deletes what was not finished."""
        if self._hidden is not None:
            try:
                self._writer.close()
                self._file.close()
            finally:
                files.delete([self._hidden])
