"""Labels that people gave, from the Parquet or CSV files that the page saved."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from transforms.columns import plain
from transforms.errors import UserError
from transforms.hashing import pair_hash
from transforms.input.input_files import find
from transforms.pairs import PairColumns, sentences
from transforms.storage import files
from transforms.tables.accounts import Account, BadLine
from transforms.tables.options import TextTable
from transforms.tables.reading import read_text_table

_TEXT = (".csv", ".tsv", ".jsonl")


def read_labels(patterns: Sequence[str], columns: Sequence[str]) -> pa.Table:
    """Some columns of labelled pairs, as text.

    Raises:
        UserError: a file has no such column, or a line that cannot be read.
    """
    parts = [_read(file.path, columns) for file in find(patterns)]
    return pa.concat_tables(parts)


def labelled_pairs(patterns: Sequence[str], columns: PairColumns) -> np.ndarray:
    """`pair_hash` of the pairs in files of labels, sorted, each once: uint64 [n]."""
    if not patterns:
        return np.empty(0, np.uint64)
    found = read_labels(patterns, columns.sides)
    keys = [
        pair_hash(*(sentences(batch, name).fill_null("") for name in columns.sides))
        for batch in found.to_batches()
    ]
    return np.unique(np.concatenate([np.empty(0, np.uint64), *keys]))


def _read(path: str, columns: Sequence[str]) -> pa.Table:
    if path.endswith(_TEXT):
        return _read_text(path, columns)
    with files.open_input(path) as file:
        try:
            parquet = pq.ParquetFile(file)
        except pa.ArrowException as error:
            reason = files.reason(error)
            raise UserError(f"{path} is neither Parquet nor CSV of labels: {reason}") from None
        _require(path, parquet.schema_arrow.names, columns)
        table = parquet.read(columns=list(columns))
    texts = [
        pa.chunked_array(
            [_as_text(chunk) for chunk in table.column(name).chunks], pa.large_string()
        )
        for name in columns
    ]
    return pa.table(texts, names=list(columns))


def _as_text(array: pa.Array) -> pa.Array:
    return plain(array).cast(pa.large_string())


def _read_text(path: str, columns: Sequence[str]) -> pa.Table:
    bad: list[BadLine] = []
    batches = []
    for rows in read_text_table(path, TextTable(), Account(path, bad.append)):
        _require(path, rows.batch.schema.names, columns)
        batches.append(rows.batch.select(list(columns)))
    if bad:
        raise UserError(f"{path}, line {bad[0].line}: {bad[0].reason}; save the labels again")
    schema = pa.schema([(name, pa.large_string()) for name in columns])
    return pa.Table.from_batches(batches, schema)


def _require(path: str, names: Sequence[str], columns: Sequence[str]) -> None:
    for name in columns:
        if name not in names:
            raise UserError(f"{path}: no column {name!r}; it has {', '.join(names[:12])}")
