"""Two workers of one core each against one worker on one core, over the same file's rows.

python -m benchmarks.workers --model BUNDLE --file ../shared/data/lcqmc_train.parquet
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow.parquet as pq

CORES = sorted(os.sched_getaffinity(0))[:2]


def start(model: str, path: str, output: str, core: int) -> subprocess.Popen[bytes]:
    """A scoring run that may use one core only."""
    command = ["-m", "pipelines.score", "--input", path, "--model", model, "--output", output]
    return subprocess.Popen(
        ["taskset", "--cpu-list", str(core), sys.executable, *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def speed(model: str, parts: list[str], cores: list[int]) -> float:
    """Pairs a second of one worker a part, all at once; the slowest counts."""
    with tempfile.TemporaryDirectory(prefix="twinbeam-bench-") as folder:
        outputs = [f"{folder}/{number}" for number in range(len(parts))]
        work = zip(parts, outputs, cores, strict=True)
        for process in [start(model, part, output, core) for part, output, core in work]:
            if process.wait():
                raise SystemExit("a run failed")
        manifests = [json.loads(Path(output, "_manifest.json").read_text()) for output in outputs]
    return sum(m["rows_in"] for m in manifests) / max(m["seconds_scoring"] for m in manifests)


def compare(model: str, path: str, runs: int = 3) -> str:
    """A Markdown line; one worker runs before and two after, each time."""
    table = pq.read_table(path, columns=["sentence1", "sentence2"])
    alone, both = [], []
    with tempfile.TemporaryDirectory(prefix="twinbeam-bench-") as folder:
        half = table.num_rows // 2
        parts = [f"{folder}/{number}.parquet" for number in range(2)]
        for part, rows in zip(parts, (table.slice(0, half), table.slice(half)), strict=True):
            pq.write_table(rows, part, row_group_size=16_384)
        for _ in range(runs):
            alone.append(speed(model, parts[:1], CORES[:1]))
            both.append(speed(model, parts, CORES))
    one, two = statistics.median(alone), statistics.median(both)
    return f"one worker {one:,.0f} pairs/s, two workers {two:,.0f} pairs/s: {two / one:.2f} ×\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--file", required=True, metavar="PARQUET")
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    print(compare(args.model, args.file, args.runs))


if __name__ == "__main__":
    main()
