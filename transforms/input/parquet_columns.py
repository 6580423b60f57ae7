"""Opens Parquet so that its columns come as they were written, and names what Arrow cannot keep.

What is not kept is never a value, only what a file says of a column: Arrow has no ENUM, INTERVAL,
BSON or VARIANT, so such columns are written as the bytes or structs that they are.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

Int96Unit = Literal["us", "ns"]
OLD_INT96 = b"org.apache.spark.legacyINT96"  # Spark's marks of the Julian calendar
OLD_DAYS = b"org.apache.spark.legacyDateTime"
_UNKNOWN_TO_ARROW = {"Enum": "ENUM", "Bson": "BSON", "Interval": "INTERVAL"}
_VARIANT_GROUP = re.compile(r"^ +\w+ group field_id=-?\d+ (.+) \(Variant(?:\(\d+\))?\) \{$", re.M)


class Geometry(pa.ExtensionType):
    """Shapes as well-known binary: GEOMETRY and GEOGRAPHY of Parquet.

    Arrow reads and writes them only where this type is registered; `description` is
    JSON with the coordinate system and the kind of edges (geoarrow.org/extension-types).
    """

    def __init__(self, storage: pa.DataType, description: str):
        """Takes the type of the bytes and the description."""
        self.description = description
        super().__init__(storage, "geoarrow.wkb")

    def __arrow_ext_serialize__(self) -> bytes:
        """The description."""
        return self.description.encode()

    @classmethod
    def __arrow_ext_deserialize__(cls, storage: pa.DataType, serialized: bytes) -> Geometry:
        """The type with this description."""
        return cls(storage, serialized.decode())


with contextlib.suppress(pa.ArrowKeyError):  # a library for shapes has registered its own
    pa.register_extension_type(Geometry(pa.binary(), "{}"))


def open_parquet(file: Any, *, int96: Int96Unit = "us", **how: Any) -> pq.ParquetFile:
    """Opens a Parquet file; the one way in which input is read.

    Args:
        file: an open file.
        int96: the unit of INT96 times. As nanoseconds, which is what Arrow makes of them else,
            64 bits end in the years 1677 and 2262, and what is outside comes out as another
            time; and Spark does not read what is written.
        how: passed on to `pq.ParquetFile`.
    """
    return pq.ParquetFile(file, coerce_int96_timestamp_unit=int96, **how)


def leaves(schema: pa.Schema) -> list[range]:
    """For each column of a file's Arrow schema the places of its leaves in the footer.

    A list has as many leaves as its values, a struct those of all its fields; so as soon as a file
    has one, a column's place among the columns is not its place in the footer.
    """
    places, start = [], 0
    for field in schema:
        end = start + _count_leaves(field.type)
        places.append(range(start, end))
        start = end
    return places


def column_leaves(schema: pa.Schema, name: str) -> range:
    """The places of one column's leaves in the footer."""
    return leaves(schema)[schema.names.index(name)]


def _count_leaves(data_type: pa.DataType) -> int:
    if isinstance(data_type, pa.BaseExtensionType):
        return _count_leaves(data_type.storage_type)
    if pa.types.is_dictionary(data_type):
        return 1
    return sum(_count_leaves(child.type) for child in _children(data_type)) or 1


def _children(data_type: pa.DataType) -> Iterator[pa.Field]:
    for place in range(data_type.num_fields):
        yield data_type.field(place)


def int96_columns(parquet: pq.ParquetFile) -> list[str]:
    """Names of the columns that are INT96, or hold such times somewhere inside."""
    kinds = [parquet.schema.column(place).physical_type for place in range(len(parquet.schema))]
    schema = parquet.schema_arrow
    return [
        name
        for name, places in zip(schema.names, leaves(schema), strict=True)
        if any(kinds[place] == "INT96" for place in places)
    ]


def written_schema(parquet: pq.ParquetFile) -> pa.Schema:
    """A file's schema with footer keys that are true of its INT96 times as they are written.

    Spark marks files whose old days are those of the Julian calendar, INT96 times apart from days
    and other times. Where a file has no such others, their mark becomes that of the INT96 times.
    """
    schema = parquet.schema_arrow
    keys = dict(schema.metadata or {})
    if calendars_differ(parquet) and not _other_days(parquet):
        if OLD_INT96 in keys:
            keys[OLD_DAYS] = keys[OLD_INT96]
        else:
            del keys[OLD_DAYS]
    return schema.with_metadata(keys or None)


def calendars_differ(parquet: pq.ParquetFile) -> bool:
    """Whether INT96 times are of one calendar, by Spark's marks, and other days of another."""
    keys = parquet.schema_arrow.metadata or {}
    return bool(int96_columns(parquet)) and (OLD_INT96 in keys) != (OLD_DAYS in keys)


def _other_days(parquet: pq.ParquetFile) -> bool:
    columns = (parquet.schema.column(place) for place in range(len(parquet.schema)))
    return any(
        column.physical_type != "INT96"
        and json.loads(column.logical_type.to_json())["Type"] in ("Date", "Timestamp")
        for column in columns
    )


def times_in_utc(parquet: pq.ParquetFile) -> bool:
    """Whether all times of day are UTC's; Arrow can write all of a file's so, or none."""
    return set(_times(parquet).values()) == {True}


def rewritten_columns(parquet: pq.ParquetFile) -> list[str]:
    """The columns whose kind Arrow cannot write again, each with that kind, in order.

    Their values stay as they are; see docs/columns.md.
    """
    found = {}
    for place in range(len(parquet.schema)):
        column = parquet.schema.column(place)
        kind = _parsed(column.logical_type.to_json())["Type"]
        if kind in _UNKNOWN_TO_ARROW:
            found[column.path] = _UNKNOWN_TO_ARROW[kind]
    times = _times(parquet)
    if len(set(times.values())) > 1:
        found |= {path: "TIME in UTC" for path, in_utc in times.items() if in_utc}
    if calendars_differ(parquet) and _other_days(parquet):
        found |= dict.fromkeys(int96_columns(parquet), "calendar of its own (INT96 of Spark)")
    # pyarrow shows groups only in the text of the schema.
    found |= dict.fromkeys(_VARIANT_GROUP.findall(str(parquet.schema)), "VARIANT")
    return [f"{path} {kind}" for path, kind in found.items()]


@lru_cache(maxsize=1024)  # of very many files there are few kinds of columns
def _parsed(logical_type: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(logical_type)
    return found


def _times(parquet: pq.ParquetFile) -> dict[str, bool]:
    """The times of day by path: whether each is UTC's."""
    columns = (parquet.schema.column(place) for place in range(len(parquet.schema)))
    kinds = {column.path: _parsed(column.logical_type.to_json()) for column in columns}
    return {p: kind["isAdjustedToUTC"] for p, kind in kinds.items() if kind["Type"] == "Time"}
