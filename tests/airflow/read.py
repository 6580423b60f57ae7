"""Reads what the DAGs wrote, without our code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq


def read_json(path: Path | str) -> dict[str, Any]:
    return json.loads(Path(path).read_text())


def ids(folder: Path | str) -> list[int]:
    """The ids in all Parquet files of a folder, in the files' order; rejects end otherwise."""
    files = sorted([*Path(folder).glob("*.parquet"), *Path(folder).glob("*.parquet.rejected")])
    return [row for file in files for row in pq.read_table(file, columns=["id"])["id"].to_pylist()]


def usable_ids(folder: Path | str) -> list[int]:
    """The ids of rows of a day with two sentences that are not blank."""
    found = []
    for file in sorted(Path(folder).glob("*.parquet")):
        for row in pq.read_table(file).to_pylist():
            sentences = (row["sentence1"], row["sentence2"])
            if all(sentence and sentence.strip(" \t\n\u3000") for sentence in sentences):
                found.append(row["id"])
    return found


def check_day(data: Path, day: str) -> dict[str, Any]:
    """Holds that a day's pointer leads to each usable row once, and returns the pointer."""
    pointer = read_json(data / "scores" / day / "current.json")
    scores = Path(pointer["scores"])
    came = ids(data / "pairs" / day)
    rejected = ids(scores / "_rejects")

    assert pointer["date"] == day
    assert ids(scores) == usable_ids(data / "pairs" / day)
    assert sorted(ids(scores) + rejected) == sorted(came)
    assert (pointer["rows_in"], pointer["rows_scored"]) == (len(came), len(came) - len(rejected))
    assert rejected, "the sample has rows that cannot be scored"
    return pointer
