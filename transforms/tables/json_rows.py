"""JSON Lines and JSON arrays → rows of text; values are written as the file has them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from transforms.errors import UserError
from transforms.tables.accounts import Account
from transforms.tables.json_array import array_elements, is_array
from transforms.tables.json_values import DECODER, NotJsonError, as_texts, parse_object
from transforms.tables.lines import LineBlock
from transforms.tables.rows import (
    BATCH_CHARS,
    BATCH_ROWS,
    Rows,
    is_unreadable,
    reject_unreadable,
    text_column,
)

MOST_COLUMNS = 10_000
NO_OBJECT = "no JSON object"
_PANDAS = "write it with to_json(orient='records', lines=True)"


@dataclass
class JsonReader:
    """Reads the objects of one file, each to one row.

    Attributes:
        encoding: what the file was decoded by, for the reasons.
        account: records what is done with each line, or of each element of an array.
    """

    encoding: str
    account: Account

    def read_lines(self, blocks: Iterable[LineBlock]) -> Iterator[Rows]:
        """Blocks of JSON Lines → rows."""
        first = True
        for block in blocks:
            for rows in self._batches(_numbered(block), self._line):
                if first:
                    _refuse_columns(self.account.source, rows.batch)
                first = False
                yield rows

    def read_array(self, pieces: Iterable[str]) -> Iterator[Rows]:
        """The text of one JSON array of objects → rows; its elements are counted, not its lines."""
        elements = array_elements(self.account.source, pieces)
        yield from self._batches(elements, self._element)

    def _line(self, line: int, text: str) -> dict[str, str | None] | None:
        text = text.rstrip("\r")
        if not text.strip():
            self.account.blank += 1
            return None
        if is_unreadable(text):
            reject_unreadable(self.account, line, text, self.encoding)
            return None
        return self._kept(line, lambda: parse_object(text), text)

    def _element(self, line: int, value: Any) -> dict[str, str | None] | None:
        self.account.total += 1
        return self._kept(line, lambda: as_texts(value), "")

    def _kept(
        self, line: int, parse: Callable[[], dict[str, str | None]], text: str
    ) -> dict[str, str | None] | None:
        try:
            row = parse()
        except (ValueError, RecursionError) as error:
            detail = "nested too deeply" if isinstance(error, RecursionError) else str(error)
            # Reasons are counted: a message with a place in it would be one of its own each time.
            reason = NO_OBJECT if isinstance(error, NotJsonError) else detail
            self.account.reject(line, reason, text, detail=detail)
            return None
        self.account.rows += 1
        return row

    def _batches(
        self,
        items: Iterable[tuple[int, Any]],
        parse: Callable[[int, Any], dict[str, str | None] | None],
    ) -> Iterator[Rows]:
        found: list[dict[str, str | None]] = []
        lines: list[int] = []
        size = 0
        for line, item in items:
            row = parse(line, item)
            if row is not None:
                found.append(row)
                lines.append(line)
                size += sum(len(value) for value in row.values() if value)
            if len(found) == BATCH_ROWS or size > BATCH_CHARS:
                yield self._rows(found, lines)
                found, lines, size = [], [], 0
        if found:
            yield self._rows(found, lines)

    def _rows(self, found: list[dict[str, str | None]], lines: list[int]) -> Rows:
        names = list(dict.fromkeys(name for row in found for name in row))
        if len(names) > MOST_COLUMNS:
            raise UserError(
                f"{self.account.source}: its objects have more than {MOST_COLUMNS:,} different "
                "keys; are they data? Write them as values of two columns"
            )
        columns = [text_column([row.get(name) for row in found]) for name in names]
        batch = pa.RecordBatch.from_arrays(columns, names=names)
        return Rows(batch, np.array(lines, np.int64), np.ones(len(lines), np.int64))


def _numbered(block: LineBlock) -> Iterator[tuple[int, str]]:
    text = block.text[:-1] if block.text.endswith("\n") else block.text
    if text or block.text:
        yield from enumerate(text.split("\n"), block.line)


def kind_of_document(start: str) -> str | None:
    """What a file without one object a line is, and what to do with it; None where it has one."""
    lines = start.strip().split("\n")[:50]
    values = [_decode_or_none(line) for line in lines]
    if any(isinstance(value, dict) for value in values):
        return None
    if isinstance(values[0], list):
        return "JSON lists, one a line; write one object a line, with names for the columns"
    if len(lines) > 1 and lines[0].startswith(("{", "[")):
        return f"one JSON document over many lines; write one object a line (pandas: {_PANDAS})"
    return None


def is_json(start: str) -> bool:
    """Whether a file that starts so is a JSON array, or has a JSON object on its first line."""
    text = start.lstrip()
    if is_array(text):
        return True
    return text.startswith("{") and isinstance(_decode_or_none(text.split("\n", 1)[0]), dict)


def _decode_or_none(text: str) -> Any:
    try:
        return DECODER.decode(text)
    except (ValueError, RecursionError):
        return None


def _refuse_columns(path: str, batch: pa.RecordBatch) -> None:
    """Stops at pandas' default: one object of columns, which would be taken for one row."""
    values = [column[0].as_py() for column in batch.columns]
    if batch.num_rows == 1 and values and all(str(value)[:1] in ("{", "[") for value in values):
        raise UserError(
            f"{path} is one JSON object that holds columns, as pandas' to_json writes it; {_PANDAS}"
        )
