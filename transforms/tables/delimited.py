"""CSV and TSV → rows: each line becomes a row, or a part of one, or is kept as a bad line.

Where a record cannot be read its first line is bad and reading resumes at the next line, so that a
stray quote costs one line and never those behind it. Blocks without quotes and without trouble are
read by Arrow, which gives the same rows sooner.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from transforms.errors import UserError
from transforms.tables import records
from transforms.tables.accounts import Account
from transforms.tables.encodings import NOT_TEXT
from transforms.tables.lines import LineBlock
from transforms.tables.options import QUOTE, Layout
from transforms.tables.records import RecordScanner, Spoilt
from transforms.tables.rows import BATCH_ROWS, Rows, is_unreadable, reject_unreadable, text_column

MOST_RECORD_CHARS = 8 << 20  # an open quote is looked for so far, and no farther
SWALLOWED = "a quoted value holds lines that are rows by themselves"
HEADER_AGAIN = "the header again"
# Rows that are kept, and reported.
BREAKS_AND_DELIMITERS = "values with line breaks and delimiters in them"
BACKSLASH_QUOTES = "values with a backslash before a quote"
ENCLOSED = "values that are enclosed in quotes, which are taken as text"


@dataclass
class DelimitedReader:
    """Reads the records of one file.

    Attributes:
        layout: how its columns are separated.
        names: of its columns.
        header: the values of its header, None where it has none.
        encoding: what the file was decoded by, for the reasons.
        account: records what is done with each line.
    """

    layout: Layout
    names: list[str]
    header: tuple[str, ...] | None
    encoding: str
    account: Account
    _scanner: RecordScanner = field(init=False)
    _pattern: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        """Compiles the pattern of a record."""
        self._scanner = RecordScanner(self.layout)
        self._pattern = self._scanner.pattern(len(self.names))

    def read(self, blocks: Iterator[LineBlock]) -> Iterator[Rows]:
        """Blocks of lines → rows; a record that is open at a block's end waits for the next."""
        rest = ""
        for block in blocks:
            text, line = rest + block.text, block.line - rest.count("\n")
            if not text:
                continue
            rows = None if rest else self._read_by_arrow(text, line)
            rest = ""
            if rows is None:
                rest = yield from self._scan(text, line, block.last)
            elif rows.batch.num_rows:
                yield self._counted(rows)

    def _counted(self, rows: Rows) -> Rows:
        if not self.layout.quotes:
            self._doubt_enclosed(rows)
        return rows

    def _read_by_arrow(self, text: str, line: int) -> Rows | None:
        """Rows of a block where every line is one; None where that is not so."""
        lines = text.count("\n") + (text[-1:] not in ("", "\n"))
        if not self._is_plain(text):
            return None
        spoilt: list[pa_csv.InvalidRow] = []

        def skip(row: pa_csv.InvalidRow) -> str:
            spoilt.append(row)
            return "skip"

        # One block for all of the text: a character has at most four bytes in UTF-8.
        reading = pa_csv.ReadOptions(
            column_names=self.names, block_size=4 * len(text) + 1, use_threads=False
        )
        parsing = pa_csv.ParseOptions(
            delimiter=self.layout.delimiter,
            quote_char=False,
            invalid_row_handler=skip,
        )
        converting = pa_csv.ConvertOptions(
            column_types=dict.fromkeys(self.names, pa.large_string()), strings_can_be_null=False
        )
        try:
            content = pa.BufferReader(text.encode())
            table = pa_csv.read_csv(content, reading, parsing, converting)
        except (pa.ArrowException, UnicodeEncodeError):
            return None
        # A line with another number of columns, or an empty one, which Arrow skips: then the block
        # is read again by the pattern, which accounts for each line.
        if spoilt or table.num_rows != lines:
            return None
        self.account.rows += lines
        batch = table.combine_chunks().to_batches()[0]
        places = np.arange(line, line + lines, dtype=np.int64)
        return Rows(batch, places, np.ones(lines, np.int64))

    def _is_plain(self, text: str) -> bool:
        # Where Arrow's reader gives the rows that the pattern would give: there is no quote to
        # interpret, no lone carriage return, which Arrow takes for a line's end, and no second
        # header to reject.
        delimiter = self.layout.delimiter
        return (
            len(text) > 1
            and len(delimiter) == 1
            and delimiter.isascii()
            and not (self.layout.quotes and QUOTE in text)
            and text.count("\r") == text.count("\r\n")
            and (self.header is None or delimiter.join(self.header) not in text)
        )

    def _scan(self, text: str, line: int, last: bool) -> Generator[Rows, None, str]:
        """Record by record; returns the text of one that is not complete yet."""
        dirty = NOT_TEXT.search(text) is not None
        found: list[tuple[str, ...]] = []
        lines: list[tuple[int, int]] = []
        start = 0
        while start < len(text):
            match = self._pattern.match(text, start)
            if match is None:
                end = self._reject(text, start, line, last)
                if end is None:
                    break
                line += 1
            else:
                end = match.end()
                taken = text.count("\n", start, end) + (text[end - 1] != "\n")
                row = self._row(match, line, taken, dirty)
                if row is not None:
                    found.append(row)
                    lines.append((line, taken))
                line += taken
            start = end
            if len(found) == BATCH_ROWS:
                yield self._rows(found, lines)
                found, lines = [], []
        if found:
            yield self._rows(found, lines)
        return text[start:]

    def _rows(self, found: list[tuple[str, ...]], lines: list[tuple[int, int]]) -> Rows:
        columns = [text_column(values) for values in zip(*found, strict=True)]
        batch = pa.RecordBatch.from_arrays(columns, names=self.names)
        places, taken = np.array(lines, np.int64).T
        return self._counted(Rows(batch, places, taken))

    def _row(
        self, match: re.Match[str], line: int, taken: int, dirty: bool
    ) -> tuple[str, ...] | None:
        """The values of a record, or None where it is kept apart."""
        values = self._scanner.values(match.groups())
        if dirty and is_unreadable(match[0]):
            reject_unreadable(self.account, line, match[0].rstrip("\n"), self.encoding, taken)
            return None
        if values == self.header:
            self.account.reject(line, HEADER_AGAIN, match[0].rstrip("\n"), taken)
            return None
        if taken > 1 and self._doubt_lines(match[0], values, line, taken):
            return None
        if self.layout.quotes and self.layout.escape is None and "\\" + QUOTE in match[0]:
            self.account.doubt(BACKSLASH_QUOTES, line, taken)
        self.account.rows += taken
        return values

    def _doubt_lines(self, text: str, values: tuple[str, ...], line: int, taken: int) -> bool:
        """Whether a record of several lines is bad: each line alone has all columns."""
        delimiter = self.layout.delimiter
        if not any("\n" in value and delimiter in value for value in values):
            return False
        wanted = len(self.names) - 1
        each = text.rstrip("\n").split("\n")
        if all(part.count(delimiter) == wanted for part in each) and max(taken, wanted + 1) > 2:
            self.account.reject(line, SWALLOWED, text.rstrip("\n"), taken)
            return True
        self.account.doubt(BREAKS_AND_DELIMITERS, line, taken)
        return False

    def _reject(self, text: str, start: int, line: int, last: bool) -> int | None:
        """Keeps the line at `start` apart; its end, or None where more text may complete it."""
        found = self._scanner.first(text, start)
        waiting = isinstance(found, Spoilt) and found.unclosed and not last
        if waiting and len(text) - start < MOST_RECORD_CHARS:
            return None
        end = text.find("\n", start) + 1 or len(text)
        content = text[start:end].rstrip("\r\n")
        if not content:
            self.account.blank += 1
        elif is_unreadable(content):
            reject_unreadable(self.account, line, content, self.encoding)
        else:
            self.account.reject(line, self._reason(found, end), content)
        return end

    def _reason(self, found: tuple[tuple[str, ...], int] | Spoilt, end: int) -> str:
        if isinstance(found, Spoilt):
            return found.reason
        values, record_end = found
        if record_end > end:
            return records.SEVERAL_LINES
        return f"{len(values)} columns, expected {len(self.names)}"

    def _doubt_enclosed(self, rows: Rows) -> None:
        """Values in quotes where there should be none: another program may have put them there."""
        enclosed = np.zeros(rows.batch.num_rows, bool)
        for column in rows.batch.columns:
            both = pc.and_(pc.starts_with(column, QUOTE), pc.ends_with(column, QUOTE))
            both = pc.and_(both, pc.greater(pc.binary_length(column), 1))
            enclosed |= both.to_numpy(zero_copy_only=False)
        for line in rows.lines[enclosed].tolist():
            self.account.doubt(ENCLOSED, line)


def first_record(path: str, text: str, line: int, layout: Layout) -> tuple[tuple[str, ...], int]:
    """The values of a file's first record, and where the next begins.

    Raises:
        UserError: it cannot be read, so the columns are not known.
    """
    found = RecordScanner(layout).first(text)
    if isinstance(found, Spoilt):
        raise UserError(
            f"{path}, line {line}: {found.reason}, so its columns are not known; if quotes are "
            "plain text in this file, give --no_quotes"
        )
    return found
