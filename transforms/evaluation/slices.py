"""Parts of the rows that are measured on their own: by a column, by length, by what was seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.columns import as_text, holds_text, plain, plain_type
from transforms.errors import UserError
from transforms.evaluation.scored_rows import ScoredRows
from transforms.labels import can_be_label

if TYPE_CHECKING:
    from transforms.evaluation.sentence_priors import SentencePriors

MAX_VALUES = 100
NULL, NOT_UTF8 = "(null)", "(not UTF-8)"
LENGTH, UNKNOWN, SEEN = "sentence length", "out-of-vocabulary", "sentences seen in training"
_LENGTH_ENDS = np.array([8, 16, 32, 64, 128])
_LENGTH_NAMES = np.array(["1-8", "9-16", "17-32", "33-64", "65-128", "129+"])

FindUnknown = Callable[[pa.Array], np.ndarray]  # sentences [n] → has an unknown token, bool [n]
Slice = tuple[str, str]


def slices(
    rows: ScoredRows,
    columns: tuple[str, ...],
    priors: SentencePriors | None = None,
    find_unknown: FindUnknown | None = None,
) -> Iterator[tuple[Slice, np.ndarray]]:
    """Each slice of the rows: (what it is by, its value) and which rows are in it, bool [n].

    Raises:
        UserError: a column has too many values to be broken down by.
    """
    for name in columns:
        yield from _by(name, shown_texts(rows.batch.column(name)))
    yield from _by(LENGTH, lengths(rows.side1, rows.side2))
    if priors is not None:
        seen = sum(priors.look_up(side)[0].astype(int) for side in (rows.side1, rows.side2))
        yield from _by(SEEN, np.array(["neither", "one", "both"])[seen])
    if find_unknown is not None:
        unknown = find_unknown(rows.side1) | find_unknown(rows.side2)
        yield from _by(UNKNOWN, np.where(unknown, "some unknown", "all known"))


def lengths(side1: pa.Array, side2: pa.Array) -> np.ndarray:
    """The range in which the longer sentence's characters lie: str [n]."""
    longer = pc.max_element_wise(pc.utf8_length(side1), pc.utf8_length(side2))
    return _LENGTH_NAMES[np.searchsorted(_LENGTH_ENDS, longer.to_numpy(zero_copy_only=False))]


def can_be_slice(data_type: pa.DataType) -> bool:
    """Whether the values of a column of this type can be distinguished and shown."""
    found = plain_type(data_type)
    return can_be_label(found) or any(
        holds(found)
        for holds in (pa.types.is_date, pa.types.is_time, pa.types.is_timestamp, pa.types.is_null)
    )


def shown_texts(column: pa.Array) -> np.ndarray:
    """The values of a column that `can_be_slice` as text, [n]."""
    values = plain(column)
    if not holds_text(values.type):
        return pc.fill_null(_shown(values), NULL).to_numpy(zero_copy_only=False)
    text = as_text(values).fill_null(NOT_UTF8)
    return pc.if_else(values.is_valid(), text, NULL).to_numpy(zero_copy_only=False)


def _shown(values: pa.Array) -> pa.Array:
    try:
        return values.cast(pa.string())
    except pa.ArrowInvalid:  # a time zone that this machine does not know: as UTC
        return values.cast(pa.timestamp(values.type.unit, "UTC")).cast(pa.string())


def _by(name: str, values: np.ndarray) -> Iterator[tuple[Slice, np.ndarray]]:
    distinct, place = np.unique(values.astype(str), return_inverse=True)
    check_values(name, len(distinct))
    for number, value in enumerate(distinct):
        yield (name, str(value)), place == number


def check_values(name: str, values: int) -> None:
    """Checks that a slice column has few enough values to show and to hold.

    Raises:
        UserError: it has more than `MAX_VALUES`.
    """
    if values > MAX_VALUES:
        raise UserError(
            f"--slice_column {name} has more than {MAX_VALUES} values; choose a column with few, "
            "or make one from it"
        )
