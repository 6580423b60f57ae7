"""Time and peak memory of `pipelines.label` as the scored pairs grow, on made-up scores.

python -m benchmarks.label --rows 1000000 10000000
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.evaluation import make_scores


def choose(path: str, output: str) -> tuple[float, float, float]:
    """Seconds by the clock, of CPU, and peak memory (MB), in a process of its own."""
    command = [sys.executable, "-m", "pipelines.label", "--input", path, "--output", output]
    started = time.perf_counter()
    process = subprocess.Popen([*command, "--pairs", "500"], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit("the choice failed")
    wall = time.perf_counter() - started
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    args = parser.parse_args()
    print("| scored pairs | s with start-up | CPU s | peak MB |\n| --- | --- | --- | --- |")
    for rows in args.rows:
        with tempfile.TemporaryDirectory(prefix="twinbeam-bench-") as folder:
            path = str(Path(folder) / "scores.parquet")
            make_scores(rows, path)
            wall, cpu, peak = choose(path, f"{folder}/to-label")
        print(f"| {rows:,} | {wall:.0f} | {cpu:.0f} | {peak:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
