"""Pairs a second of four ways to score the same file with the same bundle, in turn, by medians.

python -m benchmarks.score --model BUNDLE --file bq=../shared/data/bq_train80k.parquet
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

WAYS = ("pandas_predict", "run_inference", "loop", "ours")
# The first two ways are slow: so many rows say their speed, and the table says how many.
ROWS = {"pandas_predict": 1024, "run_inference": 20_480, "loop": 0}


@dataclass(frozen=True)
class Measured:
    """One run of one way: pairs, seconds of work, seconds with start-up, peak memory."""

    pairs: int
    seconds: float
    wall: float
    peak_mb: float

    @property
    def speed(self) -> float:
        return self.pairs / self.seconds


def command(way: str, path: str, bundle: str, output: str) -> list[str]:
    if way == "ours":
        flags = ["--input", path, "--model", bundle, "--output", output]
        return [sys.executable, "-m", "pipelines.score", *flags]
    return [sys.executable, "-m", f"benchmarks.way_{way}", path, bundle, output, str(ROWS[way])]


def measure(way: str, path: str, bundle: str) -> Measured:
    """Runs one way in a process of its own."""
    folder = tempfile.mkdtemp(prefix="twinbeam-bench-")
    output = f"{folder}/out"
    started = time.perf_counter()
    process = subprocess.Popen(
        command(way, path, bundle, output), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    printed = process.stdout.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    if status:
        raise SystemExit(f"way {way} failed on {path}:\n{printed}")
    if way == "ours":
        manifest = json.loads(Path(output, "_manifest.json").read_text())
        pairs, seconds = manifest["rows_in"], manifest["seconds_scoring"]
    else:
        outcome = json.loads(printed.splitlines()[-1])
        pairs, seconds = outcome["pairs"], outcome["seconds"]
    shutil.rmtree(folder)
    return Measured(pairs, seconds, wall, usage.ru_maxrss / 1024)


def table(name: str, runs: dict[str, list[Measured]]) -> str:
    """A Markdown table of medians, with the ratio of ours to each way."""
    speed = {way: statistics.median(run.speed for run in group) for way, group in runs.items()}
    lines = [
        f"### {name}: {runs['ours'][0].pairs:,} pairs\n",
        "| method | pairs measured | pairs/s | with start-up | start-up s | peak MB | speed-up |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for way, group in runs.items():
        wall = statistics.median(run.wall for run in group)
        startup = statistics.median(run.wall - run.seconds for run in group)
        memory = statistics.median(run.peak_mb for run in group)
        lines.append(
            f"| {way} | {group[0].pairs:,} | {speed[way]:,.0f} | {group[0].pairs / wall:,.0f} "
            f"| {startup:.1f} | {memory:,.0f} | {speed['ours'] / speed[way]:.2f} × |"
        )
    return "\n".join(lines) + "\n"


def compare(path: str, model: str, ways: list[str], runs: int) -> dict[str, list[Measured]]:
    """Runs all ways in turn, so that a slow moment of the machine hits each of them."""
    measured: dict[str, list[Measured]] = {way: [] for way in ways}
    for number in range(runs):
        for way in ways:
            measured[way].append(measure(way, path, model))
            outcome = f"{Path(path).name} run {number + 1} {way}: {measured[way][-1]}"
            print(outcome, file=sys.stderr, flush=True)
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--file", action="append", required=True, metavar="NAME=PATH")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    args = parser.parse_args()
    for name, _, path in (file.partition("=") for file in args.file):
        print(table(name, compare(path, args.model, args.ways, args.runs)), flush=True)


if __name__ == "__main__":
    main()
