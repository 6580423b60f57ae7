"""A search that was killed thirty times, anywhere, leaves the bytes of one that was not."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from tests.finding_kit import table, texts
from tests.scoring_kit import write

ROOT = Path(__file__).resolve().parents[2]
KILLS = 30
CHANGING = {"started", "seconds", "pairs_per_second", "run", "shards_this_run"}


def sums(folder: Path) -> dict[str, str]:
    """Name → sha256 of every file that is data."""
    paths = [*folder.glob("*.parquet"), *folder.glob("_rejects/*")]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}


def manifest(folder: Path) -> dict:
    found = json.loads((folder / "_manifest.json").read_text())
    return {key: value for key, value in found.items() if key not in CHANGING}


def killed(folder: Path, kills: int, seed: int, *flags: object) -> dict:
    rows: pa.Table = table([*texts(300), None])  # one row is rejected
    write(folder / "in.parquet", rows, row_group_size=80)
    words = ["--input", folder / "in.parquet", "--shard_rows", 80, "--model", "manhattan", *flags]
    done = subprocess.run(
        [sys.executable, "-m", "tests.e2e.killed_find", folder, *map(str, [kills, seed, *words])],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sums(folder / "killed") == sums(folder / "quiet")
    assert manifest(folder / "killed") == manifest(folder / "quiet")
    return json.loads(done.stdout.splitlines()[-1])


def test_killed_twice(tmp_path):
    assert killed(tmp_path, 2, 1)["kills"] == 2


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "flags",
    [(), ("--cells", 6), ("--cells", 8, "--recall", 0.9, "--anchors", 150), ("--top_k", 2)],
    ids=["exact", "cells", "measured", "top_k"],
)
def test_thirty_kills(tmp_path, flags):
    seen = killed(tmp_path, KILLS, 7, *flags)
    assert seen["kills"] == KILLS
    print(f"{' '.join(map(str, flags)) or 'exact'}: {seen}", flush=True)
