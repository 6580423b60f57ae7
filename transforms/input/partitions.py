"""Columns in the names of folders: `day=2024-01-01/part-0.parquet`.

As Hive, Spark and Dask lay data sets out, the files below have no such column. Outputs keep the
folders, so that every engine finds the column where it found it in the input; it is written into
the files only on demand. Never both: pandas and PyArrow refuse a column that is in a folder's name
and in the file.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import unquote

import pyarrow as pa

from transforms.errors import UserError

TEXT = "text"
TYPES: dict[str, pa.DataType] = {
    TEXT: pa.string(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
}
NULL = "__HIVE_DEFAULT_PARTITION__"


class Partition(NamedTuple):
    """A column in the name of a folder.

    Attributes:
        name: of the column.
        value: as text; None for null.
        type: one of `TYPES`.
        in_file: whether it is written into the files, and leaves the folder's name.
    """

    name: str
    value: str | None
    type: str = TEXT
    in_file: bool = False

    @property
    def field(self) -> pa.Field:
        """The column's field."""
        return pa.field(self.name, TYPES[self.type])

    def scalar(self) -> pa.Scalar:
        """The value in its type.

        Raises:
            pa.ArrowInvalid: the text is none.
        """
        return pa.scalar(self.value, pa.string()).cast(TYPES[self.type])


def partition_folders(path: str) -> list[str]:
    """The folders `NAME=VALUE` right above a file, the outermost first."""
    found: list[str] = []
    for folder in reversed(path.split("/")[:-1]):
        name, equals, _ = folder.partition("=")
        if not name or not equals:
            break
        found.insert(0, folder)
    return found


def partitions_of(
    path: str, columns: Sequence[str], types: Mapping[str, str], wanted: Sequence[str]
) -> list[Partition]:
    """The columns in a path.

    Args:
        path: of a file.
        columns: names of the file's own columns, which come first.
        types: columns that are to be written into the files, with their type.
        wanted: columns that the run reads, and hence writes into the files.

    Raises:
        UserError: a value is not of its type.
    """
    found = []
    for folder in partition_folders(path):
        name, _, text = folder.partition("=")
        name, value = unquote(name), None if text == NULL else unquote(text)
        if name in columns:
            continue
        kind = types.get(name, TEXT)
        partition = Partition(name, value, kind, name in types or name in wanted)
        try:
            partition.scalar()
        except pa.ArrowInvalid:
            raise UserError(
                f"{path}: {folder!r} is not of type {kind}; give --partition_columns {name}={TEXT}"
            ) from None
        found.append(partition)
    return found


def output_name(path: str, below: str, partitions: Sequence[Partition]) -> str:
    """What a file's outputs are named after: folders of partitions, then one name for the rest.

    Args:
        path: of the file.
        below: its path below what was named; other folders become part of the name.
        partitions: its partitions; those that are written into the files are no longer folders.
    """
    folders = partition_folders(path)
    inside = below.split("/")
    rest = inside[: max(len(inside) - 1 - len(folders), 0)] + inside[-1:]
    in_file = {partition.name for partition in partitions if partition.in_file}
    kept = [folder for folder in folders if unquote(folder.partition("=")[0]) not in in_file]
    written = [folder.replace("=", "-") for folder in folders if folder not in kept]
    # What begins with _ or . is hidden from whatever reads the scores.
    name = "__".join([*written, *rest]).lstrip("_.") or "file"
    return "/".join([*kept, name])


def names_apart(names: Sequence[str], paths: Sequence[str]) -> list[str]:
    """The names as they are, but with a mark of its path where several files have the same one."""
    count = Counter(names)
    return [
        name if count[name] == 1 else f"{name.removesuffix('.parquet')}-{_mark(path)}"
        for name, path in zip(names, paths, strict=True)
    ]


def _mark(path: str) -> str:
    return hashlib.sha256(path.encode(errors="surrogateescape")).hexdigest()[:12]
