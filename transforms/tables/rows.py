"""Rows of a text file as Arrow batches of text, each with its line number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from transforms.errors import UserError
from transforms.tables.accounts import Account
from transforms.tables.encodings import NOT_TEXT, UTF8, bytes_of
from transforms.tables.lines import TOO_LONG

BATCH_ROWS = 20_000
BATCH_CHARS = 16 << 20
SAMPLE_BYTES = 1 << 14
NOT_UTF8 = "not UTF-8"


@dataclass(frozen=True)
class Rows:
    """Some rows.

    Attributes:
        batch: columns of large_string.
        lines: the first line of each row in the file, from 1: int64 [rows].
        taken: how many lines each row takes: int64 [rows].
    """

    batch: pa.RecordBatch
    lines: np.ndarray
    taken: np.ndarray


def text_column(values: Sequence[str | None]) -> pa.Array:
    """Values as Arrow text; a UnicodeEncodeError if one is not valid text."""
    return pa.array(values, pa.large_string())


def reject_unreadable(
    account: Account, line: int, text: str, encoding: str, lines: int = 1
) -> None:
    """Keeps a line whose bytes are not text, or that never ends."""
    if text.startswith(TOO_LONG):
        account.reject(line, "a line of millions of characters", text[len(TOO_LONG) :], lines)
        return
    if encoding == UTF8:
        room = SAMPLE_BYTES - len(account.undecoded)
        account.undecoded += bytes_of(text[:SAMPLE_BYTES])[: max(room, 0)]
    reason = NOT_UTF8 if encoding == UTF8 else f"not {encoding}"
    account.reject(line, reason, text, lines)


def is_unreadable(text: str) -> bool:
    """Whether some of its bytes were no text."""
    return NOT_TEXT.search(text) is not None


def column_names(path: str, header: Sequence[str]) -> list[str]:
    """The names of a header; a column without one is called `column_N` by its place.

    Raises:
        UserError: two columns have the same name.
    """
    names = [name or f"column_{place}" for place, name in enumerate(header, 1)]
    repeated = sorted({name for name in names if names.count(name) > 1}) if names else []
    if repeated:
        raise UserError(f"{path}: column {repeated[0]!r} occurs twice; names must differ")
    return names
