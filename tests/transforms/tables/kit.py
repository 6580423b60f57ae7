"""Reads small text files as rows, for the tests of tables."""

from __future__ import annotations

from pathlib import Path

from transforms.tables.accounts import Account, BadLine
from transforms.tables.options import TextTable
from transforms.tables.reading import read_text_table


def read(
    folder: Path, name: str, content: str | bytes, table: TextTable | None = None
) -> tuple[list[tuple], list[BadLine], Account, list[tuple[int, int]]]:
    """The rows of a file, its bad lines, its account, and the line and the lines of each row."""
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    bad: list[BadLine] = []
    account = Account(str(path), bad.append)
    found: list[dict] = []
    places: list[tuple[int, int]] = []
    for rows in read_text_table(str(path), table or TextTable(), account):
        found += rows.batch.to_pylist()
        places += zip(rows.lines.tolist(), rows.taken.tolist(), strict=True)
    names = list(dict.fromkeys(name for row in found for name in row))
    return [tuple(map(row.get, names)) for row in found], bad, account, places
