"""What was done with each line of a text file, and whether that is all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from transforms.errors import RunError

TEXT_KEPT = 10_000  # characters of a bad line that are kept


@dataclass(frozen=True)
class BadLine:
    """A line that cannot be read or cannot be used.

    Attributes:
        source: the file.
        line: its number in the file, from 1; of a record over several lines, the first.
        lines: how many lines of the file it covers.
        reason: why, without any text of the row.
        detail: more about it; may quote the row.
        text: the line itself, cut to `TEXT_KEPT` characters.
    """

    source: str
    line: int
    reason: str
    text: str
    lines: int = 1
    detail: str = ""


@dataclass
class Doubts:
    """Rows that were read, but look as if the file meant something else.

    Attributes:
        lines: lines of the file that these rows take.
        rows: how many rows.
        first: where the first stands, as `FILE:LINE`.
    """

    lines: int = 0
    rows: int = 0
    first: str = ""

    def add(self, source: str, line: int, lines: int = 1) -> None:
        """Counts a row in."""
        self.first = self.first or f"{source}:{line}"
        self.rows += 1
        self.lines += lines


@dataclass
class Account:
    """The lines of a file and what was done with them.

    Attributes:
        total: lines of the file, counted where they are cut, not where they are read.
        header: lines that name the columns or say how to read the file.
        rows: lines that rows take.
        bad: lines that are bad.
        blank: empty lines between rows.
        undecoded: the first bytes that are not UTF-8, with what stands around them.
        start: how a delimited file begins, its header included.
        doubts: rows that look wrong, by reason.
    """

    source: str
    keep: Callable[[BadLine], None]
    total: int = 0
    header: int = 0
    rows: int = 0
    bad: int = 0
    blank: int = 0
    undecoded: bytes = b""
    start: str = ""
    doubts: dict[str, Doubts] = field(default_factory=dict)

    def reject(self, line: int, reason: str, text: str, lines: int = 1, detail: str = "") -> None:
        """Keeps a bad line, and counts it."""
        self.bad += lines
        readable = text[:TEXT_KEPT].encode(errors="replace").decode()
        self.keep(BadLine(self.source, line, reason, readable, lines, detail))

    def doubt(self, reason: str, line: int, lines: int = 1) -> None:
        """Counts a row that looks wrong."""
        self.doubts.setdefault(reason, Doubts()).add(self.source, line, lines)

    def check(self) -> None:
        """Raises a RunError unless every line of the file is accounted for."""
        known = self.header + self.rows + self.bad + self.blank
        if known != self.total:
            raise RunError(
                f"{self.source} has {self.total:,} lines, of which {known:,} are accounted for "
                f"({self.rows:,} in rows, {self.bad:,} bad, {self.blank:,} empty, {self.header:,} "
                "of header); this is a bug in twinbeam"
            )
