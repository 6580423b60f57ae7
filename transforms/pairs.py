"""The batch of pairs: the one element that flows through the pipelines.

A batch is a `pa.RecordBatch` with every column of the input file as it came. Here stand the names
of the columns that mean something to us, the schemas of what is written, and the checks that part
a batch into rows that can be used and rows that are rejected with a reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.columns import as_floats, as_text, holds_text, is_number, plain
from transforms.errors import UserError
from transforms.labels import LabelRule, can_be_label, parse_labels
from transforms.output_schema import extended_schema

REJECT_REASON = "reject_reason"
REJECT_DETAIL = "reject_detail"
REJECT_FIELDS = (pa.field(REJECT_REASON, pa.string()), pa.field(REJECT_DETAIL, pa.string()))

# Separators, control and format characters: a sentence of nothing else says nothing.
_BLANK = r"^[\p{Z}\p{Cc}\p{Cf}]*$"


@dataclass(frozen=True)
class PairColumns:
    """Names of the columns that hold the two sentences and, where labels are read, the label.

    In triplets the first two are an anchor and its positive, and `negative` is the third; they
    have no label. `weight` is how much a row counts in training, and `teachers` hold what other
    models say of it, whose mean is learned from; then the label may be null.
    With `keyed`, examples have a key of each sentence, by which its vector is found.
    """

    sentence1: str = "sentence1"
    sentence2: str = "sentence2"
    label: str | None = None
    negative: str | None = None
    weight: str | None = None
    teachers: tuple[str, ...] = ()
    keyed: bool = False

    @property
    def sides(self) -> tuple[str, str]:
        """The two sentence columns."""
        return self.sentence1, self.sentence2

    @property
    def texts(self) -> tuple[str, ...]:
        """All columns of sentences: two, or three in triplets."""
        return self.sides if self.negative is None else (*self.sides, self.negative)

    @property
    def maybe_in_folders(self) -> tuple[str, ...]:
        """Columns that a file need not have where they are in its folders' names."""
        return (*self.texts, *filter(None, [self.label]))

    @property
    def flagged(self) -> list[tuple[str, str]]:
        """All columns of sentences, each with the flag that names it."""
        return list(zip(("sentence1", "sentence2", "negative"), self.texts, strict=False))

    @property
    def numbers(self) -> list[tuple[str, str]]:
        """All columns of numbers beside the label, each with the flag that names it."""
        weight = [("weight", self.weight)] if self.weight else []
        return weight + [("teacher", name) for name in self.teachers]

    @property
    def number_features(self) -> list[str]:
        """Names of the features that these columns become: `weight`, `teacher`."""
        return list(dict.fromkeys(flag for flag, _ in self.numbers))


class TextColumns(Protocol):
    """Columns of a table with sentences: pairs, or single sentences."""

    @property
    def label(self) -> str | None:
        """The column of labels, where they are read."""

    @property
    def texts(self) -> tuple[str, ...]:
        """All columns of sentences."""

    @property
    def maybe_in_folders(self) -> tuple[str, ...]:
        """Columns that a file need not have where they are in its folders' names."""

    @property
    def flagged(self) -> list[tuple[str, str]]:
        """All columns of sentences, each with the flag that names it."""


def check_schema(schema: pa.Schema, columns: TextColumns, source: str) -> None:
    """Checks that a file has the columns a run needs, with types it can read.

    Raises:
        UserError: names the file, the column, what was found and the flag to name another.
    """
    repeated = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if repeated:
        raise UserError(f"{source}: column {repeated[0]!r} occurs twice; names must be unique")
    for (flag, name), (other, same) in combinations(columns.flagged, 2):
        if name == same:
            raise UserError(
                f"--{flag}_column and --{other}_column are both {name!r}; expected two columns"
            )
    for flag, name in columns.flagged:
        found = _require(schema, name, f"--{flag}_column", source).type
        if not holds_text(found):
            raise UserError(
                f"{source}: column {name!r} is {found}, expected text (string or binary); "
                f"name another with --{flag}_column"
            )
    if columns.label is not None:
        found = _require(schema, columns.label, "--label_column", source).type
        if not can_be_label(found):
            raise UserError(
                f"{source}: column {columns.label!r} is {found}, expected numbers, text or "
                "booleans; name another with --label_column"
            )
    for flag, name in columns.numbers if isinstance(columns, PairColumns) else ():
        found = _require(schema, name, f"--{flag}_column", source).type
        if not is_number(found):
            raise UserError(
                f"{source}: column {name!r} is {found}, expected numbers; "
                f"name another with --{flag}_column"
            )


def _require(schema: pa.Schema, name: str, flag: str, source: str) -> pa.Field:
    if name not in schema.names:
        raise UserError(
            f"{source}: no column {name!r}; it has {_shortened(schema.names)}; "
            f"name yours with {flag}"
        )
    return schema.field(name)


def _shortened(names: list[str], most: int = 12) -> str:
    shown = ", ".join(repr(name) for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def rejected_schema(schema: pa.Schema) -> pa.Schema:
    """The schema of rejected rows: the input's, then why."""
    return extended_schema(schema, REJECT_FIELDS)


def check_reject_names(schemas: Mapping[str, pa.Schema]) -> None:
    """Checks that rejected rows can be written with every column of the input.

    Raises:
        UserError: a column has the name of one that rejected rows get, as in a table of them.
    """
    added = {field.name for field in REJECT_FIELDS}
    for source, schema in schemas.items():
        for name in schema.names:
            if name.lower() in added:
                raise UserError(
                    f"{source} has a column {name!r} already, which rejected rows get; rename it "
                    "or leave it out"
                )


def reject_reasons(rejected: pa.RecordBatch) -> list[str]:
    """Why rows were rejected; an input column of the same name stands before it."""
    place = rejected.schema.get_all_field_indices(REJECT_REASON)[-1]
    found: list[str] = rejected.column(place).to_pylist()
    return found


def sentences(batch: pa.RecordBatch, name: str) -> pa.Array:
    """A sentence column as `large_string`; rows that are not UTF-8 become null."""
    return as_text(batch.column(name))


def cut_sentences(
    batch: pa.RecordBatch, columns: PairColumns, max_chars: int
) -> tuple[list[pa.Array], int]:
    """Both sentence columns of checked rows as large_string, of each at most so many characters.

    Returns:
        The two columns, and how many sentences were cut.
    """
    sides, cut = [], 0
    for name in columns.sides:
        text = sentences(batch, name)
        longer = pc.sum(pc.greater(pc.utf8_length(text), max_chars)).as_py() or 0
        sides.append(pc.utf8_slice_codeunits(text, 0, max_chars) if longer else text)
        cut += longer
    return sides, cut


def split_rows(
    batch: pa.RecordBatch,
    columns: TextColumns,
    *,
    max_chars: int,
    truncate: bool = False,
    labels: LabelRule | None = None,
) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Parts a batch into rows that can be used and rows that cannot, with the reason.

    Args:
        batch: rows with every input column.
        columns: names of the sentence columns and the label.
        max_chars: the greatest number of characters a sentence may have.
        truncate: let longer sentences pass; `cut_sentences` cuts them for the model.
        labels: how to read labels; None where they are not read.

    Returns:
        Good rows as they came, and rejected rows with `reject_reason` (a stable code) and
        `reject_detail` behind their columns. Both keep the order of the input.
    """
    problems = list(_problems(batch, columns, None if truncate else max_chars, labels))
    first = np.full(batch.num_rows, -1)
    for number, (mask, _, _) in enumerate(problems):
        first[(first < 0) & mask] = number
    bad = first >= 0
    rejected = keep_rows(batch, bad)
    why = [problems[number] for number in first[bad]]
    rejected = pa.RecordBatch.from_arrays(
        [
            *rejected.columns,
            pa.array([code for _, code, _ in why], pa.string()),
            pa.array([detail for _, _, detail in why], pa.string()),
        ],
        schema=rejected_schema(batch.schema),
    )
    return keep_rows(batch, ~bad), rejected


def keep_rows(batch: pa.RecordBatch, mask: np.ndarray) -> pa.RecordBatch:
    """The rows of a batch where the mask, bool [n], is true; columns may be of any type."""
    if mask.all():
        return batch
    columns = [_kept(column, mask) for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def _kept(column: pa.Array, mask: np.ndarray) -> pa.Array:
    try:
        return column.filter(pa.array(mask))
    except pa.ArrowNotImplementedError:  # as for views: join the runs of rows instead
        bounds = np.flatnonzero(np.diff(mask, prepend=False, append=False)).tolist()
        starts_and_ends = zip(bounds[::2], bounds[1::2], strict=True)
        runs = [column.slice(start, end - start) for start, end in starts_and_ends]
        return pa.concat_arrays(runs) if runs else column.slice(0, 0)


def take_rows(batch: pa.RecordBatch, places: pa.Array) -> pa.RecordBatch:
    """The rows of a batch at these places; columns may be of any type."""
    columns = [_taken(column, places) for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def _taken(column: pa.Array, places: pa.Array) -> pa.Array:
    try:
        return column.take(places)
    except pa.ArrowNotImplementedError:  # as for views: join the rows instead
        rows = [column.slice(place, 1) for place in places.to_pylist()]
        return pa.concat_arrays(rows) if rows else column.slice(0, 0)


def with_reject(batch: pa.RecordBatch, reason: str, detail: str) -> pa.RecordBatch:
    """Rows with the same reason to reject them behind their columns."""
    why = [pa.repeat(pa.scalar(text, pa.string()), batch.num_rows) for text in (reason, detail)]
    return pa.RecordBatch.from_arrays([*batch.columns, *why], schema=rejected_schema(batch.schema))


def _problems(
    batch: pa.RecordBatch, columns: TextColumns, max_chars: int | None, labels: LabelRule | None
) -> Iterator[tuple[np.ndarray, str, str]]:
    for name in columns.texts:
        missing = _mask(_is_missing(batch.column(name)))
        text = sentences(batch, name)
        unreadable = _mask(text.is_null()) & ~missing
        yield missing, "sentence_null", f"{name} is null"
        yield unreadable, "sentence_not_utf8", f"{name} is not valid UTF-8"
        yield _mask(pc.match_substring_regex(text, _BLANK)), "sentence_blank", f"{name} is blank"
        if max_chars is not None:
            too_long = _mask(pc.greater(pc.utf8_length(text), max_chars))
            yield too_long, "sentence_too_long", f"{name} has more than {max_chars} characters"
    taught = isinstance(columns, PairColumns) and bool(columns.teachers)
    if columns.label is not None and labels is not None:
        missing = _mask(_is_missing(batch.column(columns.label)))
        unreadable = _mask(parse_labels(batch.column(columns.label), labels).is_null())
        if not taught:
            yield missing, "label_null", f"{columns.label} is null"
        yield unreadable & ~missing, "label_invalid", f"{columns.label} is not {labels.expected}"
    for flag, name in columns.numbers if isinstance(columns, PairColumns) else ():
        low, high = (labels or LabelRule()).score_range if flag == "teacher" else (0.0, np.inf)
        value = as_floats(batch.column(name))
        bad = ~(np.isfinite(value) & (value >= low) & (value <= high))
        yield bad, f"{flag}_invalid", f"{name} is not a number from {low:g} to {high:g}"


def _is_missing(column: pa.Array) -> pa.Array:
    return plain(column).is_null()  # an index of a dictionary may point at a null entry


def _mask(array: pa.Array) -> np.ndarray:
    return pc.fill_null(array, False).to_numpy(zero_copy_only=False)
