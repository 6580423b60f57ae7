"""Reads tables of single sentences: rows with an id, and rows that are rejected with a reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.columns import as_ids, id_type, movable_type
from transforms.errors import UserError
from transforms.input.read_shards import ShardReader
from transforms.input.search_names import ID, SENTENCE
from transforms.pairs import (
    keep_rows,
    rejected_schema,
    sentences,
    split_rows,
    take_rows,
    with_reject,
)

ID_NULL = "id_null"
DEFAULT_ID = "id"


@dataclass(frozen=True)
class SentenceColumns:
    """Names of the columns of a table of sentences.

    Attributes:
        sentence: the sentence.
        id: what names a row; None for the file's name and the row's number.
        keep: further columns to bring along.
    """

    sentence: str = "sentence"
    id: str | None = DEFAULT_ID
    keep: tuple[str, ...] = ()
    label: None = None

    @property
    def texts(self) -> tuple[str, ...]:
        """The column of sentences."""
        return (self.sentence,)

    @property
    def maybe_in_folders(self) -> tuple[str, ...]:
        """Columns that a file need not have where they are in its folders' names."""
        return (*self.texts, *self.keep)

    @property
    def flagged(self) -> list[tuple[str, str]]:
        """The column of sentences with its flag."""
        return [("sentence", self.sentence)]

    @property
    def read(self) -> list[str]:
        """All columns that are read, each once."""
        return list(dict.fromkeys([self.sentence, *filter(None, [self.id]), *self.keep]))


def row_schema(schemas: Mapping[str, pa.Schema], columns: SentenceColumns) -> pa.Schema:
    """The schema of rows as they travel: sentence, id, and the columns to keep.

    Args:
        schemas: of the files, by path.
        columns: the columns.

    Raises:
        UserError: a file lacks a column, or has one of another type than the first file.
    """
    first, found = "", None
    for path, schema in schemas.items():
        fields = [pa.field(SENTENCE, pa.large_string()), _id_field(schema, columns, path)]
        fields += [_kept_field(schema, name, path) for name in columns.keep]
        file_schema = pa.schema(fields)
        if found is not None and file_schema != found:
            odd = next(a.name for a, b in zip(found, file_schema, strict=True) if a != b)
            raise UserError(
                f"{path}: column {odd!r} is {file_schema.field(odd).type}, in {first} it is "
                f"{found.field(odd).type}; make them the same in all files"
            )
        first, found = (first, found) if found is not None else (path, file_schema)
    return found or pa.schema([])


def _id_field(schema: pa.Schema, columns: SentenceColumns, path: str) -> pa.Field:
    if columns.id is None:
        return pa.field(ID, pa.string())
    found = _field(schema, columns.id, path, "--id_column").type
    if (kind := id_type(found)) is not None:
        return pa.field(ID, kind)
    raise UserError(
        f"{path}: column {columns.id!r} is {found}, expected whole numbers or text; name another "
        "with --id_column"
    )


def _kept_field(schema: pa.Schema, name: str, path: str) -> pa.Field:
    found = _field(schema, name, path, "--keep_columns").type
    if (kind := movable_type(found)) is not None:
        return pa.field(name, kind)
    raise UserError(
        f"{path}: column {name!r} is {found}, whose rows Arrow cannot put in another order; "
        "leave it out of --keep_columns, and join the pairs with it by their ids"
    )


def _field(schema: pa.Schema, name: str, path: str, flag: str) -> pa.Field:
    if name not in schema.names:
        raise UserError(
            f"{path}: no column {name!r}; it has {', '.join(schema.names[:12])}; "
            f"name yours with {flag}"
        )
    return schema.field(name)


@dataclass(frozen=True)
class ReadRows:
    """The rows of a batch: those that can be used, as `row_schema` says, and those rejected."""

    good: pa.RecordBatch
    rejected: pa.RecordBatch


def read_rows(
    reader: ShardReader,
    columns: SentenceColumns,
    schema: pa.Schema,
    *,
    file: str,
    first_row: int,
    max_chars: int,
) -> Iterator[ReadRows]:
    """The rows of a shard in order.

    Args:
        reader: the open shard.
        columns: the columns.
        schema: see `row_schema`.
        file: what the file is called in ids, where rows have no id.
        first_row: the number of the shard's first row in the file.
        max_chars: characters of the longest sentence that is used.
    """
    for batch in reader.batches():
        named = file_row_ids(file, first_row, batch.num_rows) if columns.id is None else None
        good, bad, kept = _parted(batch, columns, max_chars)
        ids = named.filter(pa.array(kept)) if named is not None else as_ids(good.column(columns.id))
        arrays = [sentences(good, columns.sentence), ids]
        arrays += [_movable(good.column(name)) for name in columns.keep]
        yield ReadRows(pa.RecordBatch.from_arrays(arrays, schema=schema), bad)
        first_row += batch.num_rows


def _movable(column: pa.Array) -> pa.Array:
    kind = movable_type(column.type)
    return column if kind == column.type else column.cast(kind)


def file_row_ids(file: str, first: int, count: int) -> pa.Array:
    """Ids of rows that have none: the file's name and the row's number, `questions.parquet:17`."""
    numbers = pa.array(np.arange(first, first + count)).cast(pa.string())
    return pc.binary_join_element_wise(file, numbers, ":")


def _parted(
    batch: pa.RecordBatch, columns: SentenceColumns, max_chars: int
) -> tuple[pa.RecordBatch, pa.RecordBatch, np.ndarray]:
    """Rows that can be used, rows that cannot, and which are the first: bool [n]."""
    # Numbered on the way, as ids from the file need the rows' own numbers, and so that the rejects
    # of both checks can be put back in the order of the file.
    numbers = pa.array(np.arange(batch.num_rows))
    numbered = batch.append_column("twinbeam row", numbers)
    good, bad = split_rows(numbered, columns, max_chars=max_chars)
    missing = np.zeros(good.num_rows, bool)
    if columns.id is not None:
        missing = as_ids(good.column(columns.id)).is_null().to_numpy(zero_copy_only=False)
    nameless = with_reject(keep_rows(good, missing), ID_NULL, f"{columns.id} is null or no UTF-8")
    good = keep_rows(good, ~missing)
    kept = np.zeros(batch.num_rows, bool)
    kept[good.column("twinbeam row").to_numpy()] = True
    bad = _in_order([bad, nameless])
    schema = rejected_schema(batch.schema)
    return good.select(batch.schema.names), bad.select(schema.names).cast(schema), kept


def _in_order(parts: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    bad = pa.concat_batches(parts)
    return take_rows(bad, pc.sort_indices(bad.column("twinbeam row")))
