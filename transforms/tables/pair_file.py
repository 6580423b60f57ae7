"""One Parquet file from batches whose columns may grow, and the bad lines beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.storage import files
from transforms.tables.accounts import BadLine, Doubts

COMPRESSION = "zstd"
ABOUT = "twinbeam"  # a key in the file's own metadata


def read_about(path: str) -> dict[str, Any]:
    """What a Parquet file of ours keeps of how it was made; empty for one of another origin."""
    try:
        with files.open_input(path) as file:
            kept = (pq.read_metadata(file).metadata or {}).get(ABOUT.encode(), b"{}")
        about: dict[str, Any] = json.loads(kept)
        return about
    except (pa.ArrowInvalid, OSError, ValueError):
        return {}


class GrowingParquet:
    """A Parquet file that gets a column when it is first seen, with nulls in the rows before.

    A batch with a new column begins a new hidden part; `finish` makes one file of the parts under
    its final name. Left without `finish`, nothing remains.
    """

    def __init__(self, path: str):
        """Takes where the file will stand."""
        self._path = path
        self._folder, _, self._name = path.rpartition("/")
        self._parts: list[_Part] = []
        self.rows = 0

    @property
    def schema(self) -> pa.Schema:
        """All columns so far, in the order in which they were first seen."""
        return self._parts[-1].schema if self._parts else pa.schema([])

    def write(self, batch: pa.RecordBatch) -> None:
        """Appends rows; columns that they lack are null."""
        new = [field for field in batch.schema if field.name not in self.schema.names]
        if new or not self._parts:
            schema = pa.schema([*self.schema, *new])
            if self._parts:
                self._parts[-1].close()
            self._parts.append(_Part.create(self._folder or ".", self._name, schema))
        self._parts[-1].writer.write_batch(widened(batch, self.schema))
        self.rows += batch.num_rows

    def finish(self, about: Mapping[str, Any] | None = None) -> None:
        """Gives the complete file its final name; `about` is kept in it, for `read_about`."""
        if len(self._parts) > 1:
            self._parts[-1].close()
            complete = _Part.create(self._folder or ".", self._name, self.schema)
            self._parts.append(complete)
            for batch in self._written():
                complete.writer.write_batch(widened(batch, complete.schema))
        if about is not None:
            self._parts[-1].writer.add_key_value_metadata({ABOUT: json.dumps(about)})
        self._parts[-1].close()
        files.reveal(self._parts[-1].hidden, self._path)

    def _written(self) -> Iterator[pa.RecordBatch]:
        for part in self._parts[:-1]:
            with files.open_input(part.hidden) as file:
                yield from pq.ParquetFile(file).iter_batches()

    def __enter__(self) -> GrowingParquet:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Deletes what has no final name."""
        for part in self._parts:
            with suppress(Exception):  # a writer that failed fails to close as well
                part.close()
        files.delete([part.hidden for part in self._parts])
        remove_temporary_folder(self._folder)


def widened(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch with the columns of a schema, null where it has none."""
    columns = [
        batch.column(field.name)
        if field.name in batch.schema.names
        else pa.nulls(batch.num_rows, field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def remove_temporary_folder(folder: str) -> None:
    """Removes the local folder of hidden files, unless another run has some there."""
    if files.is_local(folder):
        with suppress(OSError):
            Path(folder or ".", files.TEMPORARY_FOLDER).rmdir()


@dataclass
class _Part:
    hidden: str
    file: files.HashingFile
    writer: pq.ParquetWriter
    schema: pa.Schema

    @classmethod
    def create(cls, folder: str, name: str, schema: pa.Schema) -> _Part:
        hidden, file = files.create_hidden(folder, name)
        sink = pa.PythonFile(file, mode="w")
        return cls(hidden, file, pq.ParquetWriter(sink, schema, compression=COMPRESSION), schema)

    def close(self) -> None:
        if self.writer.is_open:
            self.writer.close()
            self.file.close()


class Rejects:
    """Bad lines, written as JSON Lines while they come, and counted by their reason."""

    def __init__(self, path: str):
        """Takes where they will stand."""
        self.path = path
        self.by_reason: dict[str, Doubts] = {}
        self._folder, _, self._name = path.rpartition("/")
        self._hidden: str | None = None
        self._file: files.HashingFile | None = None

    @property
    def lines(self) -> int:
        """How many lines are bad."""
        return sum(found.lines for found in self.by_reason.values())

    def add(self, bad: BadLine) -> None:
        """Writes a bad line."""
        if self._file is None:
            self._hidden, self._file = files.create_hidden(self._folder or ".", self._name)
        self._file.write((json.dumps(asdict(bad), ensure_ascii=False) + "\n").encode())
        self.by_reason.setdefault(bad.reason, Doubts()).add(bad.source, bad.line, bad.lines)

    def most_common(self) -> tuple[str, Doubts]:
        """The reason that most bad lines have."""
        return max(self.by_reason.items(), key=lambda found: found[1].lines)

    def finish(self) -> None:
        """Gives the file its final name; without bad lines there is none, nor an earlier one."""
        if self._file is None or self._hidden is None:
            files.delete([self.path])
            return
        self._file.close()
        files.reveal(self._hidden, self.path)
        self._hidden = None

    def close(self) -> None:
        """Deletes what has no final name."""
        if self._hidden is not None and self._file is not None:
            with suppress(Exception):
                self._file.close()
            files.delete([self._hidden])
            self._hidden = None
        remove_temporary_folder(self._folder)
