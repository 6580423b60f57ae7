"""Where a record of a delimited file ends, and its values, by one regular expression."""

from __future__ import annotations

import re
from dataclasses import dataclass

from transforms.tables.options import QUOTE, Layout

UNCLOSED = "a quote that opens a value is never closed"
AFTER_QUOTE = "text after a closing quote"
BACKSLASH = "a quote after a backslash"
SEVERAL_LINES = "a quoted value of several lines, and the wrong number of columns"


@dataclass(frozen=True)
class Spoilt:
    """A record that cannot be read.

    Attributes:
        reason: why.
        unclosed: whether a quote is open at the end of the text, so that more text may help.
    """

    reason: str
    unclosed: bool = False


class RecordScanner:
    """Finds records in text: possessive patterns, so a stray quote costs no more than its line.

    A value in quotes may hold delimiters, line breaks and doubled quotes (RFC 4180). Unlike most
    readers this one is strict: behind a closing quote comes a delimiter or the line's end. A quote
    within a value that does not begin with one is text.
    """

    def __init__(self, layout: Layout):
        """Compiles the patterns of a layout."""
        self._delimiter = layout.delimiter
        self._quotes = layout.quotes
        self._escape = layout.escape
        self._field = _field_pattern(layout)
        self._one = re.compile(self._field, re.DOTALL)
        self._end = re.compile(r"\r?(?:\n|\Z)")
        escape = re.escape(layout.escape or QUOTE)
        self._escaped = re.compile(f"{escape}({escape}|{QUOTE})|{QUOTE}{QUOTE}")

    def pattern(self, columns: int) -> re.Pattern[str]:
        """Matches a record of a number of columns with its line break, each column a group."""
        between = re.escape(self._delimiter)
        fields = between.join([f"({self._field})"] * columns)
        return re.compile(fields + self._end.pattern, re.DOTALL)

    def values(self, fields: tuple[str, ...]) -> tuple[str, ...]:
        """What the fields of a record hold, without their quotes."""
        if fields[-1].endswith("\r"):  # of the line break
            fields = (*fields[:-1], fields[-1][:-1])
        if not self._quotes:
            return fields
        return tuple(self._value(field) if field[:1] == QUOTE else field for field in fields)

    def _value(self, field: str) -> str:
        inner = field[1:-1]
        if self._escape is None:
            return inner.replace(QUOTE + QUOTE, QUOTE)
        return self._escaped.sub(lambda match: match[1] or QUOTE, inner)

    def first(self, text: str, start: int = 0) -> tuple[tuple[str, ...], int] | Spoilt:
        """The values of the record at `start`, however many, and where the next begins."""
        fields = []
        while match := self._one.match(text, start):
            fields.append(match[0])
            start = match.end()
            if end := self._end.match(text, start):
                return self.values(tuple(fields)), end.end()
            if not text.startswith(self._delimiter, start):
                break
            start += len(self._delimiter)
        return self._spoilt(text, start, closed=bool(match and match[0]))

    def _spoilt(self, text: str, start: int, closed: bool) -> Spoilt:
        end = text.find("\n", start)
        line = text[text.rfind("\n", 0, start) + 1 : end if end >= 0 else len(text)]
        if self._escape is None and "\\" + QUOTE in line:
            return Spoilt(BACKSLASH, unclosed=not closed)
        return Spoilt(AFTER_QUOTE if closed else UNCLOSED, unclosed=not closed)


def _field_pattern(layout: Layout) -> str:
    delimiter = re.escape(layout.delimiter)
    other = f"[^\n{delimiter}]" if len(layout.delimiter) == 1 else f"(?:(?!{delimiter})[^\n])"
    if not layout.quotes:
        return f"{other}*+"
    # `*+` is possessive: what it has matched is never given back, so a value whose quote is not
    # closed fails in one pass over the text. Three alternatives: a value in quotes; one that begins
    # with no quote; and nothing, which at an open quote makes the record fail there, so `first` can
    # say why.
    escape = re.escape(layout.escape) if layout.escape else ""
    inner = rf"(?:[^{QUOTE}{escape}]|{QUOTE}{QUOTE}{f'|{escape}.' if escape else ''})*+"
    return f"{QUOTE}{inner}{QUOTE}|(?!{QUOTE}){other}*+|"
