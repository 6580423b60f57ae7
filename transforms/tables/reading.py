"""A text file → its rows, with an account of every line.

Every column comes as text: a type guessed from the first rows would break on a later one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain

from transforms.errors import UserError
from transforms.tables.accounts import Account
from transforms.tables.delimited import DelimitedReader, first_record
from transforms.tables.encodings import UTF8, bytes_of, decoded, encoding_of, guess
from transforms.tables.json_array import is_array
from transforms.tables.json_rows import JsonReader, is_json, kind_of_document
from transforms.tables.lines import LineBlock, line_blocks
from transforms.tables.options import Format, Layout, TextTable, format_of, layout_of
from transforms.tables.rows import Rows, column_names, is_unreadable
from transforms.tables.signatures import HEAD_BYTES, open_unpacked, refuse_other_kinds

_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\r?(?:\n|\Z)')  # Excel's
START_CHARS = 20_000


def read_text_table(path: str, table: TextTable, account: Account) -> Iterator[Rows]:
    """The rows of a file, in batches of bounded size.

    Args:
        path: local or `gs://`; gzip, bzip2, xz and Zstandard are unpacked.
        table: how to read it.
        account: records what is done with each line, and checked at the end.

    Raises:
        UserError: the file as a whole cannot be read: what it is, and what to do.
        RunError: it can be no more, or lines are not accounted for.
    """
    with open_unpacked(path) as read:
        head = _head(read)
        refuse_other_kinds(path, head)  # before its name is looked at: an .xlsx has no format
        kind = format_of(path, table)
        encoding, mark = encoding_of(path, head, table.encoding)
        pieces = decoded(read, head[mark:], encoding)
        first = next(pieces)
        pieces = chain([first], pieces)
        if kind == "jsonl":
            yield from _read_json(path, first, pieces, encoding, account)
        else:
            if table.format is None and is_json(first):
                raise UserError(f"{path} contains JSON, despite its name; give --format jsonl")
            blocks = line_blocks(pieces, account)
            yield from _read_delimited(path, blocks, kind, table, encoding, account)
    account.check()


def _head(read: Callable[[int], bytes]) -> bytes:
    head = b""
    while len(head) < HEAD_BYTES and (piece := read(HEAD_BYTES - len(head))):
        head += piece
    return head


def _read_json(
    path: str, first: str, pieces: Iterable[str], encoding: str, account: Account
) -> Iterator[Rows]:
    reader = JsonReader(encoding, account)
    if is_array(first):
        yield from reader.read_array(pieces)
        return
    document = kind_of_document(first)
    if document is not None:
        raise UserError(f"{path} is {document}")
    yield from reader.read_lines(line_blocks(pieces, account))


def _read_delimited(
    path: str,
    blocks: Iterator[LineBlock],
    kind: Format,
    table: TextTable,
    encoding: str,
    account: Account,
) -> Iterator[Rows]:
    block = _without_blank_lines(next(blocks), account)
    while not (block.text or block.last):
        block = _without_blank_lines(next(blocks), account)
    block, delimiter = _without_separator_line(block, account)
    if not block.text:
        return
    account.start = block.text[:START_CHARS]
    layout = layout_of(kind, table, delimiter)
    fields, end = _first(path, block, layout, encoding)
    names = [f"column_{place}" for place in range(1, len(fields) + 1)]
    if layout.header:
        names = column_names(path, fields)
        taken = block.text.count("\n", 0, end) or 1
        account.header += taken
        block = replace(block, text=block.text[end:], line=block.line + taken)
    reader = DelimitedReader(layout, names, fields if layout.header else None, encoding, account)
    yield from reader.read(chain([block], blocks))


def _without_blank_lines(block: LineBlock, account: Account) -> LineBlock:
    text = block.text.lstrip("\r\n")
    blank = block.text.count("\n", 0, len(block.text) - len(text))
    account.blank += blank
    return replace(block, text=text, line=block.line + blank)


def _without_separator_line(block: LineBlock, account: Account) -> tuple[LineBlock, str | None]:
    """Excel's first line `sep=;` says how the columns are separated; it is not a row."""
    match = _SEPARATOR_LINE.match(block.text)
    if match is None:
        return block, None
    account.header += 1
    return replace(block, text=block.text[match.end() :], line=block.line + 1), match[1]


def _first(
    path: str, block: LineBlock, layout: Layout, encoding: str
) -> tuple[tuple[str, ...], int]:
    first_line = block.text[: block.text.find("\n") + 1 or len(block.text)]
    if layout.header and is_unreadable(first_line):
        sample = bytes_of(block.text[:START_CHARS]) if encoding == UTF8 else b""
        raise UserError(f"{path} is not {encoding.upper()}{encoding_hint(sample)}")
    return first_record(path, block.text, block.line, layout)


def encoding_hint(sample: bytes) -> str:
    """What to do about bytes that are not UTF-8: the likeliest encoding, if there is one."""
    found = guess(sample)
    if found is None:
        return "; give --encoding with the name of its encoding, such as gb18030 or cp1252"
    return f", but most likely {found}; give --encoding {found}"
