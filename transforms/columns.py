"""Columns of any Arrow type as plain values and as text.

Files hold text as strings, as bytes without a type, as views, in dictionaries or in an extension
such as JSON; what reads sentences, labels and slices need not know which.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def plain_type(data_type: pa.DataType) -> pa.DataType:
    """The type of the values themselves: a dictionary's, or an extension's storage."""
    if pa.types.is_dictionary(data_type):
        return plain_type(data_type.value_type)
    if isinstance(data_type, pa.BaseExtensionType):
        return plain_type(data_type.storage_type)
    return data_type


def holds_text(data_type: pa.DataType) -> bool:
    """Whether a column of this type is text, or bytes that may be text."""
    found = plain_type(data_type)
    return (
        pa.types.is_string(found)
        or pa.types.is_large_string(found)
        or pa.types.is_string_view(found)
        or pa.types.is_binary(found)
        or pa.types.is_large_binary(found)
        or pa.types.is_binary_view(found)
    )


def is_number(data_type: pa.DataType) -> bool:
    """Whether a column of this type holds numbers."""
    found = plain_type(data_type)
    return pa.types.is_integer(found) or pa.types.is_floating(found) or pa.types.is_decimal(found)


def id_type(data_type: pa.DataType) -> pa.DataType | None:
    """What ids of this type are read as: whole numbers as they are, text as string; else None."""
    found = plain_type(data_type)
    if pa.types.is_integer(found):
        return found
    return pa.string() if holds_text(found) else None


def movable_type(data_type: pa.DataType) -> pa.DataType | None:
    """The type in which rows of a column can be put in another order; None where there is none.

    For views it is that of plain text or bytes, of which Parquet makes the same.
    """
    if pa.types.is_string_view(data_type):
        return pa.large_string()
    if pa.types.is_binary_view(data_type):
        return pa.large_binary()
    try:
        pa.nulls(1, data_type).take(pa.array([0]))
    except pa.ArrowNotImplementedError:  # views inside of lists and structs
        return None
    return data_type


def plain(column: pa.Array) -> pa.Array:
    """The values of a column without dictionary or extension around them."""
    if isinstance(column, pa.DictionaryArray):
        return plain(column.dictionary_decode())
    if isinstance(column, pa.ExtensionArray):
        return plain(column.storage)
    return column


def as_floats(column: pa.Array) -> np.ndarray:
    """A column that `is_number` as float64 [n]; null becomes NaN."""
    values = plain(column).cast(pa.float64(), safe=False)
    return pc.fill_null(values, float("nan")).to_numpy(zero_copy_only=False)


def as_ids(column: pa.Array) -> pa.Array:
    """A column that has an `id_type`, as that type; text that is not UTF-8 becomes null."""
    values = plain(column)
    return values if pa.types.is_integer(values.type) else as_text(values).cast(pa.string())


def as_text(column: pa.Array) -> pa.Array:
    """A column that `holds_text` as large_string [n]; rows that are not UTF-8 become null.

    A file may hold other bytes even where it says that they are a string.
    """
    raw = plain(column).cast(pa.large_binary())
    try:
        return raw.cast(pa.large_string())
    except pa.ArrowInvalid:  # some row is not UTF-8: look at each
        return pa.array([_decoded(value) for value in raw.to_pylist()], pa.large_string())


def _decoded(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None
