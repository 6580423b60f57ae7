"""Which columns of a text table are the sentences and the label, and the pairs made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.errors import UserError
from transforms.tables.accounts import Account
from transforms.tables.options import likely_delimiter
from transforms.tables.rows import Rows

UNKNOWN_LABEL = "a label that is not in --label_map"
_NAMES_SHOWN = 12


@dataclass(frozen=True)
class PairNames:
    """The columns of a pair in a text table, each by its name or by its number from 1.

    Attributes:
        sentence1: the first sentence.
        sentence2: the second.
        label: None where there is none.
        label_map: what a label in the file means; empty keeps labels unchanged.
    """

    sentence1: str = "sentence1"
    sentence2: str = "sentence2"
    label: str | None = "label"
    label_map: dict[str, str] = field(default_factory=dict)

    def roles(self) -> dict[str, str]:
        """The name of each column of a pair in the file."""
        found = {"sentence1": self.sentence1, "sentence2": self.sentence2}
        return found if self.label is None else found | {"label": self.label}


class PairColumnFinder:
    """Makes pairs of one file's rows.

    In JSON Lines a key may be seen late: until then its column is null, and only the file's end
    can say that it is in no line.
    """

    def __init__(self, names: PairNames, account: Account, known: Sequence[str]):
        """Takes the wanted columns, the file's account, and the columns of the files before it."""
        self._names = names
        self._account = account
        self._known = known
        self._places: dict[str, str] = {}
        self._missing: set[str] = set()
        self._first: list[str] = []

    def pairs(self, rows: Rows) -> pa.RecordBatch:
        """Rows → sentence1, sentence2, label, and the other columns by their names.

        Raises:
            UserError: a column is not there, or two would have one name.
        """
        batch = rows.batch
        if not self._places:
            self._find(batch.schema.names)
        self._missing -= set(batch.schema.names)
        columns = {role: _column(batch, place) for role, place in self._places.items()}
        for name in batch.schema.names:
            if name in self._places.values():
                continue
            if name in columns:
                raise UserError(
                    f"{self._account.source} has a column {name!r} beside the one that gets this "
                    "name; rename it"
                )
            columns[name] = batch.column(name)
        return self._with_labels(columns, rows)

    def check(self) -> None:
        """Raises a UserError if a wanted column is in no row."""
        for role, place in self._places.items():
            if place in self._missing:
                raise self._no_column(role, place)

    def _find(self, names: list[str]) -> None:
        self._first = names
        wanted = self._names.roles()
        self._places = {role: _named(names, place) for role, place in wanted.items()}
        self._missing = set(self._places.values()) - set(names)
        fixed = bool(self._account.start)  # the columns of a delimited file are all there
        for role, place in self._places.items():
            no_sentence = {self._places["sentence1"], self._places["sentence2"]} <= self._missing
            if place in self._missing and (fixed or no_sentence or place.isdecimal()):
                raise self._no_column(role, place)
        if fixed and self._known:
            self._compare(names)

    def _compare(self, names: list[str]) -> None:
        mine = {*self._places, *(name for name in names if name not in self._places.values())}
        differing = sorted(mine ^ set(self._known))
        if differing:
            raise UserError(
                f"{self._account.source} has other columns than the file before it: "
                f"{', '.join(map(repr, differing[:_NAMES_SHOWN]))}; convert it separately"
            )

    def _no_column(self, role: str, place: str) -> UserError:
        names = self._first
        start = f"{self._account.source}: no column {place!r}"
        lines = self._account.start.splitlines()[:-1] or self._account.start.splitlines()
        if len(names) == 1 and (delimiter := likely_delimiter(lines[:20], names[0])):
            return UserError(
                f"{start}; its lines look separated by {delimiter!r}: give --delimiter "
                f"{delimiter!r}"
            )
        if all(name[:1] == name[-1:] == '"' for name in names) and names:
            return UserError(f"{start}, but its names are in quotes: give --quotes")
        shown = ", ".join(map(repr, names[:_NAMES_SHOWN]))
        return UserError(
            f"{start}; it has {shown}; give --{role}_column a name, or a number from 1 to "
            f"{len(names)}"
        )

    def _with_labels(self, columns: dict[str, pa.Array], rows: Rows) -> pa.RecordBatch:
        mapping = self._names.label_map
        if "label" not in self._places or not mapping:
            return pa.RecordBatch.from_pydict(columns)
        mapped = map_values(columns["label"], mapping)
        unknown = pc.is_null(mapped).to_numpy(zero_copy_only=False)
        for place in np.flatnonzero(unknown).tolist():
            text = "\t".join(str(column[place].as_py()) for column in columns.values())
            label, taken = columns["label"][place].as_py(), int(rows.taken[place])
            self._account.rows -= taken
            line = int(rows.lines[place])
            self._account.reject(line, UNKNOWN_LABEL, text, taken, f"label {label!r}")
        columns["label"] = _whole_numbers(mapped, mapping)
        return pa.RecordBatch.from_pydict(columns).filter(pa.array(~unknown))


def _named(names: list[str], wanted: str) -> str:
    if wanted not in names and wanted.isdecimal() and 1 <= int(wanted) <= len(names):
        return names[int(wanted) - 1]
    return wanted


def _column(batch: pa.RecordBatch, name: str) -> pa.Array:
    if name in batch.schema.names:
        return batch.column(name)
    return pa.nulls(batch.num_rows, pa.large_string())


def map_values(column: pa.Array, mapping: dict[str, str]) -> pa.Array:
    """Each value's counterpart, null where it has none: large_string [n]."""
    keys = pa.array(list(mapping), pa.large_string())
    values = pa.array(list(mapping.values()), pa.large_string())
    return values.take(pc.index_in(pc.utf8_trim_whitespace(column), value_set=keys))


def _whole_numbers(column: pa.Array, mapping: dict[str, str]) -> pa.Array:
    whole = all(value.removeprefix("-").isdecimal() for value in mapping.values())
    return column.cast(pa.int64()) if whole else column
