"""Tables of other libraries as Arrow, and back."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from transforms.errors import UserError

KINDS = "a pandas or Polars data frame, an Arrow table, a mapping of columns or a list of pairs"


def as_arrow(pairs: Any, names: tuple[str, str]) -> pa.RecordBatch:
    """Both sentence columns of a table of any kind that we know, as one batch.

    Raises:
        UserError: it is not a table, or lacks a column.
    """
    if isinstance(pairs, pa.RecordBatch):
        pairs = pa.Table.from_batches([pairs])
    if isinstance(pairs, pa.Table):
        return _as_batch({name: _column(pairs, name, pairs.column_names) for name in names})
    if isinstance(pairs, Mapping) or hasattr(pairs, "columns"):
        columns = list(pairs.keys() if isinstance(pairs, Mapping) else pairs.columns)
        return _as_batch({name: _column(pairs, name, columns) for name in names})
    if isinstance(pairs, Sequence) and not isinstance(pairs, str):
        if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
            raise UserError(
                "expected a list of pairs of sentences, such as [('a', 'b'), ('c', 'd')]"
            )
        return _as_batch({name: [pair[side] for pair in pairs] for side, name in enumerate(names)})
    raise UserError(f"expected {KINDS}; received {type(pairs).__name__}")


def like(pairs: Any, scored: pa.Table) -> Any:
    """The scores in the kind of table that the pairs came in; Arrow where that was a list."""
    kind = type(pairs)
    if (pandas := _loaded("pandas", kind)) is not None:
        frame = scored.to_pandas(types_mapper=_nullable(pandas))
        return frame.set_index(pairs.index)
    if (polars := _loaded("polars", kind)) is not None:
        return polars.from_arrow(scored)
    return scored


def _loaded(library: str, kind: type) -> Any:
    return sys.modules.get(library) if kind.__module__.split(".")[0] == library else None


def _nullable(pandas: Any) -> Any:
    kinds = {pa.int64(): pandas.Int64Dtype(), pa.string(): pandas.StringDtype()}
    return kinds.get


def _column(pairs: Any, name: str, columns: list[Any]) -> Any:
    if name not in columns:
        raise UserError(f"the table has no column {name!r}; it has {', '.join(map(str, columns))}")
    return pairs[name]


def _as_batch(columns: Mapping[str, Any]) -> pa.RecordBatch:
    arrays = {name: _as_array(name, column) for name, column in columns.items()}
    if len({len(array) for array in arrays.values()}) > 1:
        raise UserError("the columns of sentences are of different lengths")
    return pa.RecordBatch.from_pydict(arrays)


def _as_array(name: str, column: Any) -> pa.Array:
    if hasattr(column, "to_arrow"):  # Polars
        column = column.to_arrow()
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if isinstance(column, pa.Array):
        return column.cast(pa.large_string()) if pa.types.is_null(column.type) else column
    try:
        found = pa.array(column, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        raise UserError(f"column {name!r} holds more than text") from None
    return found.cast(pa.large_string()) if pa.types.is_null(found.type) else found
