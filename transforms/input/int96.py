"""Times as INT96: whether they can be kept in the unit in which they are to be written.

INT96 is a day and the nanoseconds of that day. 64 bits of microseconds hold every day, but not the
last three digits; 64 bits of nanoseconds hold all digits, but end in 1677 and 2262, and Arrow lets
what is outside wrap around. Both readings of a time together show whether either lost something.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from transforms.errors import UserError
from transforms.input.parquet_columns import Int96Unit

_NS_LIMIT = (2**63 - 1) // 1000  # microseconds from 1970 to the last time in nanoseconds


def check_int96(
    source: str,
    in_us: pq.ParquetFile,
    in_ns: pq.ParquetFile,
    groups: Sequence[int],
    names: Sequence[str],
    unit: Int96Unit,
) -> None:
    """Checks that no INT96 time of some row groups loses anything in a unit.

    Args:
        source: the file's path, for the error.
        in_us: the file, opened to read INT96 as microseconds.
        in_ns: the file, opened to read INT96 as nanoseconds.
        groups: the row groups to look at.
        names: the columns with INT96.
        unit: the unit in which they are to be written.

    Raises:
        UserError: names the column and the flag that keeps its times.
    """
    for group in groups:
        tables = [file.read_row_group(group, columns=list(names)) for file in (in_us, in_ns)]
        for name in names:
            columns = [table.column(name).combine_chunks() for table in tables]
            for us, ns in _instants(*columns):
                if unit == "us" and has_nanoseconds(us, ns):
                    raise UserError(
                        f"{source}: column {name!r} (INT96) holds nanoseconds, which microseconds "
                        "cannot keep; --int96 ns writes nanoseconds (which Spark does not read)"
                    )
                if unit == "ns" and (np.abs(us) > _NS_LIMIT).any():
                    raise UserError(
                        f"{source}: column {name!r} (INT96) holds times before 1677 or after 2262, "
                        "which nanoseconds cannot keep; --int96 us writes microseconds"
                    )


def has_nanoseconds(us: np.ndarray, ns: np.ndarray) -> bool:
    """Whether any of the times, int64 [n] in both units, is not a full number of microseconds.

    Exact even where nanoseconds have wrapped around, since the product wraps around too.
    """
    return bool((us * np.int64(1000) != ns).any())


def _instants(us: pa.Array, ns: pa.Array) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The times in a column that were read in both units, however deep they lie in it."""
    if us.type == ns.type:
        return  # no INT96 here
    if pa.types.is_timestamp(us.type):
        yield tuple(column.drop_null().view(pa.int64()).to_numpy() for column in (us, ns))
    elif pa.types.is_map(us.type):
        yield from _instants(us.keys, ns.keys)
        yield from _instants(us.items, ns.items)
    elif pa.types.is_struct(us.type):
        for left, right in zip(us.flatten(), ns.flatten(), strict=True):
            yield from _instants(left, right)
    else:  # a list of some kind
        yield from _instants(us.flatten(), ns.flatten())
