"""JSON values as text: values are written as the file has them.

Numbers keep their digits (`1.0`, `12345678901234567890`), text is never taken for a date, and a
list or an object comes as its JSON.
"""

from __future__ import annotations

import json
from typing import Any

from transforms.tables.encodings import NOT_TEXT


class _Number(str):
    """A number exactly as written."""

    __slots__ = ()


class NotJsonError(ValueError):
    """The text is not JSON; names the place, so each line has its own message."""


class _KeyTwice(dict[str, Any]):
    """An object that has a key twice: which of its values is meant?"""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    return found if len(found) == len(pairs) else _KeyTwice(found)


DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_Number, parse_float=_Number, parse_constant=_Number
)


def text_of(value: Any) -> str | None:
    """A JSON value as text: text and numbers as they are, the rest as JSON."""
    return value if value is None or isinstance(value, str) else _dump(value)


def _dump(value: Any) -> str:
    if isinstance(value, _KeyTwice):
        raise ValueError("a key occurs twice in an object")
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_dump(key)}: {_dump(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_dump, value)) + "]"
    return value if isinstance(value, _Number) else json.dumps(value, ensure_ascii=False)


def parse_object(text: str) -> dict[str, str | None]:
    """One JSON object → its values as text.

    Raises:
        ValueError: it is none, or nested too deeply to be read; says nothing of what it holds.
    """
    try:
        return as_texts(DECODER.decode(text))
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except json.JSONDecodeError as error:
        raise NotJsonError(f"{error.msg} at character {error.pos + 1}") from None


def as_texts(value: Any) -> dict[str, str | None]:
    """The values of a decoded object as text; a ValueError if it is not an object."""
    if not isinstance(value, dict):
        raise ValueError(f"not a JSON object but a {_KINDS.get(type(value), 'value')}")
    if isinstance(value, _KeyTwice):
        _dump(value)
    if not value:
        raise ValueError("an empty object")
    row = {key: text_of(each) for key, each in value.items()}
    if any(NOT_TEXT.search(text) for pair in row.items() for text in pair if text):
        raise ValueError("half a character: a lone surrogate")
    return row


_KINDS = {list: "list", str: "text", _Number: "number", bool: "truth value", type(None): "null"}
