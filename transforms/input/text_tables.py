"""Reads pairs from CSV, TSV and JSON Lines as Arrow batches of text; bad lines are kept apart.

Every column comes as text: a type guessed from the first block would break on a later one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.json as pa_json

from transforms.errors import UserError
from transforms.storage import files

Format = Literal["csv", "tsv", "jsonl"]
BLOCK_BYTES = 8 << 20
BLOCK_LINES = 20_000
_ENDINGS: dict[str, Format] = {
    ".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".txt": "tsv", ".jsonl": "jsonl",
    ".ndjson": "jsonl", ".json": "jsonl",
}  # fmt: skip


@dataclass(frozen=True)
class BadLine:
    """A line that could not be read, or not be used."""

    source: str
    line: int | None
    reason: str
    text: str


@dataclass(frozen=True)
class TextTable:
    """How a text file holds a table.

    Attributes:
        format: `csv`, `tsv`, `jsonl`; None goes by the file's ending.
        delimiter: between columns; None goes by the format.
        header: whether the first line names the columns; else they are `column_1`, `column_2`, ….
        quotes: whether "…" encloses values that may hold delimiters and line breaks.
    """

    format: Format | None = None
    delimiter: str | None = None
    header: bool = True
    quotes: bool = True


def format_of(path: str, table: TextTable) -> Format:
    """The format that was given, or that the file's ending tells.

    Raises:
        UserError: it tells none.
    """
    if table.format is not None:
        return table.format
    name = path.removesuffix(".gz")
    for ending, found in _ENDINGS.items():
        if name.endswith(ending):
            return found
    raise UserError(f"{path}: its ending tells no format; give --format csv, tsv or jsonl")


def read_text_table(
    path: str, table: TextTable, keep: Callable[[BadLine], None]
) -> Iterator[pa.RecordBatch]:
    """The rows of a file in bounded batches, each column as large_string.

    Args:
        path: local or `gs://`; `.gz` is unpacked.
        table: how to read it.
        keep: is given every line that cannot be read.

    Raises:
        UserError: the file as a whole cannot be read.
    """
    compression = "gzip" if path.endswith(".gz") else None
    with files.open_input(path) as raw:
        stream = pa.CompressedInputStream(raw, compression) if compression else raw
        try:
            kind = format_of(path, table)
            reader = _read_json(path, stream, keep) if kind == "jsonl" else None
            yield from reader or _read_csv(path, stream, kind, table, keep)
        except (pa.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"{path} cannot be read as {format_of(path, table)}: {reason}"
            ) from None


def _read_csv(
    path: str, stream: Any, kind: Format, table: TextTable, keep: Callable[[BadLine], None]
) -> Iterator[pa.RecordBatch]:
    def skip(row: pa_csv.InvalidRow) -> str:
        reason = f"{row.actual_columns} columns, expected {row.expected_columns}"
        keep(BadLine(path, row.number, reason, row.text))
        return "skip"

    parsing = pa_csv.ParseOptions(
        delimiter=table.delimiter or ("," if kind == "csv" else "\t"),
        quote_char='"' if table.quotes else False,
        newlines_in_values=table.quotes,
        invalid_row_handler=skip,
    )
    reading = pa_csv.ReadOptions(
        block_size=BLOCK_BYTES, use_threads=False, autogenerate_column_names=not table.header
    )
    head, stream = _head(stream)
    names = _names(path, head, reading, parsing)
    converting = pa_csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.large_binary()), strings_can_be_null=False
    )
    reader = pa_csv.open_csv(stream, reading, parsing, converting)
    wanted = names if table.header else [f"column_{n + 1}" for n in range(len(names))]
    for batch in reader:
        yield _as_text(path, batch.rename_columns(wanted), keep)


def _head(stream: Any) -> tuple[bytes, Any]:
    """The first block, and a stream that starts with it again."""
    head = stream.read(BLOCK_BYTES)
    return head, pa.PythonFile(_Rejoined(head, stream), mode="r")


class _Rejoined:
    """A file that gives bytes read earlier once more, then goes on."""

    closed = False

    def __init__(self, head: bytes, rest: Any):
        self._head, self._rest = head, rest

    def read(self, size: int = -1) -> bytes:
        if not self._head:
            return self._rest.read(size) if size >= 0 else self._rest.read()
        taken, self._head = self._head[:size], self._head[size:]
        return taken

    def close(self) -> None:
        self.closed = True

    def readable(self) -> bool:
        return True


def _names(
    path: str, head: bytes, reading: pa_csv.ReadOptions, parsing: pa_csv.ParseOptions
) -> list[str]:
    first = pa_csv.ParseOptions(
        delimiter=parsing.delimiter,
        quote_char=parsing.quote_char,
        newlines_in_values=parsing.newlines_in_values,
        invalid_row_handler=lambda _: "skip",
    )
    if not head.strip():
        raise UserError(f"{path} is empty")
    names = pa_csv.open_csv(pa.BufferReader(head), reading, first).schema.names
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise UserError(f"{path}: column {sorted(repeated)[0]!r} is there twice; names must differ")
    return names


def _as_text(path: str, batch: pa.RecordBatch, keep: Callable[[BadLine], None]) -> pa.RecordBatch:
    """Byte columns → text; rows that are not UTF-8 are kept apart."""
    try:
        columns = [column.cast(pa.large_string()) for column in batch.columns]
        return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
    except pa.ArrowInvalid:
        good = []
        for row in batch.to_pylist():
            try:
                good.append({name: value.decode() for name, value in row.items()})
            except UnicodeDecodeError:
                text = "\t".join(value.decode(errors="replace") for value in row.values())
                keep(BadLine(path, None, "not UTF-8", text))
        schema = pa.schema([(name, pa.large_string()) for name in batch.schema.names])
        return pa.RecordBatch.from_pylist(good, schema=schema)


def _read_json(path: str, stream: Any, keep: Callable[[BadLine], None]) -> Iterator[pa.RecordBatch]:
    lines = enumerate(_lines(stream), 1)
    names: list[str] = []
    while block := [(number, line) for number, line in islice(lines, BLOCK_LINES)]:
        found = _json_block(path, [(n, line) for n, line in block if line.strip()], keep)
        names = names or found.schema.names
        columns = [
            found.column(name) if name in found.schema.names
            else pa.nulls(found.num_rows, pa.large_string())
            for name in names
        ]  # fmt: skip
        yield pa.RecordBatch.from_arrays(columns, names=names)


def _lines(stream: Any) -> Iterator[bytes]:
    rest = b""
    while piece := stream.read(BLOCK_BYTES):
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
    if rest:
        yield rest


def _json_block(
    path: str, lines: list[tuple[int, bytes]], keep: Callable[[BadLine], None]
) -> pa.RecordBatch:
    """Lines → rows by Arrow's reader; where it stumbles, line by line to find the bad ones."""
    try:
        found = pa_json.read_json(pa.BufferReader(b"\n".join(line for _, line in lines)))
        if found.num_rows == len(lines):
            columns = [column.cast(pa.large_string()) for column in found.combine_chunks().columns]
            columns = [pa.concat_arrays(column.chunks) for column in columns]
            return pa.RecordBatch.from_arrays(columns, names=found.schema.names)
    except (pa.ArrowException, TypeError):
        pass
    rows = []
    for number, line in lines:
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError("no object")
            rows.append({key: _text_of(value) for key, value in row.items()})
        except ValueError as error:
            keep(BadLine(path, number, f"no JSON object: {error}", line.decode(errors="replace")))
    names = list(dict.fromkeys(name for row in rows for name in row))
    schema = pa.schema([(name, pa.large_string()) for name in names])
    return pa.RecordBatch.from_pylist(rows, schema=schema)


def _text_of(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def map_values(column: pa.Array, mapping: dict[str, str]) -> pa.Array:
    """Each value's counterpart, null where it has none: large_string [n]."""
    keys = pa.array(list(mapping), pa.large_string())
    values = pa.array(list(mapping.values()), pa.large_string())
    return values.take(pc.index_in(pc.utf8_trim_whitespace(column), value_set=keys))
