"""Text in pieces → blocks of complete lines, with their numbers, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from transforms.tables.accounts import Account
from transforms.tables.encodings import MARK

MOST_LINE_CHARS = 16 << 20  # a longer line is none, but a file of another kind
TOO_LONG = MARK + MARK + "long" + MARK  # at the start of what is kept of one
_KEPT = 200


@dataclass(frozen=True)
class LineBlock:
    """Complete lines of a file.

    Attributes:
        text: the lines, each with its line break; only a file's last line may lack it.
        line: number of the first.
        last: whether the file ends with this block.
    """

    text: str
    line: int
    last: bool = False


def line_blocks(pieces: Iterable[str], account: Account) -> Iterator[LineBlock]:
    """Cuts text at its line breaks; the account records how many lines there are.

    Lines end with a line feed, with or without a carriage return before it; a file without a line
    feed in its first piece, but with carriage returns, is one whose lines end with these. A line of
    more than `MOST_LINE_CHARS` comes as its first characters behind `TOO_LONG`.
    """
    rest = _Rest()
    mac: bool | None = None
    for piece in pieces:
        if mac is None and piece:
            mac = "\n" not in piece and "\r" in piece.rstrip("\r")
        if mac:
            piece = piece.replace("\r", "\n")
        cut = piece.rfind("\n") + 1
        if not cut:
            rest.add(piece)
            continue
        text = rest.take(piece[:cut])
        rest.add(piece[cut:])
        yield LineBlock(text, account.total + 1)
        account.total += text.count("\n")
    text = rest.take("")
    yield LineBlock(text, account.total + 1, last=True)
    account.total += bool(text)


class _Rest:
    """The start of a line that is not complete yet."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._size = 0

    def add(self, text: str) -> None:
        # Beyond the limit only the size still grows: of such a line a beginning is kept, to show.
        if self._size <= MOST_LINE_CHARS:
            self._parts.append(text)
        elif len(self._parts) > 1 or len(self._parts[0]) > _KEPT:
            self._parts = ["".join(self._parts)[:_KEPT]]
        self._size += len(text)

    def take(self, text: str) -> str:
        """What was kept and what follows, up to the end of complete lines."""
        first = text.find("\n") + 1 or len(text)
        start = "".join(self._parts) + text[:first]
        too_long = self._size + first > MOST_LINE_CHARS
        self._parts, self._size = [], 0
        if too_long:
            start = TOO_LONG + start[:_KEPT].rstrip("\n") + ("\n" if start.endswith("\n") else "")
        return start + text[first:] if text else start
