"""The elements of one JSON array, read as far as they are needed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from transforms.errors import UserError
from transforms.tables.json_values import DECODER

MOST_ELEMENT_CHARS = 16 << 20
_SPACE = re.compile(r"[\s,]*")
_ARRAY = re.compile(r"\s*\[\s*[{\]]")


def is_array(start: str) -> bool:
    """Whether a file that starts so is one JSON array of objects."""
    return _ARRAY.match(start) is not None


def array_elements(path: str, pieces: Iterable[str]) -> Iterator[tuple[int, Any]]:
    """The elements of a JSON array with the lines they start on, in bounded memory.

    Raises:
        UserError: the array is broken; what follows cannot be found again.
    """
    text = _Growing(iter(pieces))
    text.skip(re.compile(r"\s*\["))
    while True:
        text.skip(_SPACE)
        if text.starts("]"):
            text.skip(re.compile(r"\]\s*"))
            if text.starts(""):
                raise UserError(f"{path}, line {text.line}: text after the end of the JSON array")
            return
        try:
            yield text.line, text.decode()
        except RecursionError:
            raise UserError(f"{path}, line {text.line}: JSON that is nested too deeply") from None
        except ValueError:
            raise UserError(
                f"{path}, line {text.line}: the JSON array is broken or cut here; "
                "write one object per line, so that a bad line affects no other"
            ) from None


class _Growing:
    """Text that is read as far as it is needed, and then forgotten."""

    def __init__(self, pieces: Iterator[str]):
        self._pieces = pieces
        self._text, self._start, self._ended = "", 0, False
        self.line = 1

    def _grow(self) -> bool:
        piece = next(self._pieces, None)
        self._ended = piece is None
        self._text, self._start = self._text[self._start :] + (piece or ""), 0
        return not self._ended

    def _pass(self, end: int) -> None:
        self.line += self._text.count("\n", self._start, end)
        self._start = end

    def skip(self, pattern: re.Pattern[str]) -> None:
        """Passes what the pattern matches, wherever pieces are cut."""
        while True:
            match = pattern.match(self._text, self._start)
            if match:
                self._pass(match.end())
            if (match and self._start < len(self._text)) or not self._grow():
                return
            if match:
                pattern = _SPACE

    def starts(self, text: str) -> bool:
        """Whether there is more text, and it starts so."""
        while self._start == len(self._text) and self._grow():
            pass
        return self._start < len(self._text) and self._text.startswith(text, self._start)

    def decode(self) -> Any:
        """The JSON value that starts here; a ValueError where there is none."""
        while True:
            try:
                value, end = DECODER.raw_decode(self._text, self._start)
                if end < len(self._text) or self._ended:
                    self._pass(end)
                    return value
            except json.JSONDecodeError:
                if self._ended or len(self._text) - self._start > MOST_ELEMENT_CHARS:
                    raise
            self._grow()
