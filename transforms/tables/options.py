"""How a text file holds a table: format, delimiter, quotes, escape, encoding."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from transforms.errors import UserError
from transforms.tables.signatures import PACKED_ENDINGS

Format = Literal["csv", "tsv", "jsonl"]
QUOTE = '"'
TAB = "\t"
_ENDINGS: dict[str, Format] = {
    ".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".txt": "tsv", ".jsonl": "jsonl",
    ".ndjson": "jsonl", ".json": "jsonl",
}  # fmt: skip
_TYPED = re.compile(r"\\(t|\\|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4})")
_CANDIDATES = (TAB, ",", ";", "|", "\x01")


@dataclass(frozen=True)
class TextTable:
    """How a text file holds a table.

    Attributes:
        format: `csv`, `tsv`, `jsonl`; None goes by the file's ending.
        delimiter: between columns, one character or several; None goes by the format.
        header: whether the first line names the columns; else they are `column_1`, `column_2`, ….
        quotes: whether "…" encloses values that may hold delimiters and line breaks; None says
            yes, but where a tab separates the columns.
        escape: the character that makes a quote inside quotes plain text, besides doubling it.
        encoding: of the text; None takes the byte order mark's, or UTF-8.
    """

    format: Format | None = None
    delimiter: str | None = None
    header: bool = True
    quotes: bool | None = None
    escape: str | None = None
    encoding: str | None = None


@dataclass(frozen=True)
class Layout:
    """How one file separates its columns, once all is known: see `TextTable`."""

    delimiter: str
    quotes: bool
    escape: str | None
    header: bool


def format_of(path: str, table: TextTable) -> Format:
    """The format that was given, or the one that the file's ending means.

    Raises:
        UserError: the ending means none.
    """
    if table.format is not None:
        return table.format
    name = path.lower()
    for ending in PACKED_ENDINGS:
        name = name.removesuffix(ending)
    for ending, found in _ENDINGS.items():
        if name.endswith(ending):
            return found
    raise UserError(f"{path}: its name does not show the format; give --format csv, tsv or jsonl")


def typed_delimiter(text: str) -> str:
    r"""A delimiter as a shell lets people type it: `\t`, `\x01`, `\u0001` are one character each.

    Raises:
        UserError: it is empty, or holds a line break.
    """
    if text.lower() == "tab":
        return TAB

    def character(match: re.Match[str]) -> str:
        name = match[1]
        return {"t": TAB, "\\": "\\"}.get(name) or chr(int(name[1:], 16))

    found = _TYPED.sub(character, text)
    if not found or "\n" in found or "\r" in found:
        raise UserError(
            f"--delimiter {text!r}: expected one character or several, no line break, "
            "as in ';' or '\\t'"
        )
    return found


def layout_of(kind: Format, table: TextTable, found_delimiter: str | None) -> Layout:
    """How a file's columns are separated.

    Args:
        kind: csv or tsv.
        table: the options of reading.
        found_delimiter: the one that the file's own `sep=` line names.

    Raises:
        UserError: the choices do not fit together.
    """
    delimiter = table.delimiter or found_delimiter or ("," if kind == "csv" else TAB)
    quotes = table.quotes
    if quotes is None:
        quotes = table.escape is not None or delimiter != TAB
    if quotes and QUOTE in delimiter:
        raise UserError(f"--delimiter {delimiter!r} holds a quote; give --no_quotes with it")
    if table.escape is not None:
        if not quotes:
            raise UserError("--escape is for quoted values, but --no_quotes says there are none")
        if len(table.escape) != 1 or table.escape in delimiter + QUOTE + "\r\n":
            raise UserError(
                f"--escape {table.escape!r}: expected one character other than the delimiter and "
                "the quote, as in '\\'"
            )
    return Layout(delimiter, quotes, table.escape, table.header)


def likely_delimiter(lines: list[str], current: str) -> str | None:
    """Another delimiter that cuts each of these lines in as many columns; None if none does."""
    lines = [line for line in lines if line.strip()]
    for delimiter in _CANDIDATES:
        counts = {line.count(delimiter) for line in lines}
        if delimiter != current and len(counts) == 1 and counts != {0}:
            return delimiter
    return None


def shown(delimiter: str) -> str:
    r"""A delimiter as typed: `'\t'` for a tab."""
    return repr(delimiter)
