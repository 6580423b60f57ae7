"""Time and peak memory of `pipelines.label` as the scored pairs grow, on made-up scores.

python -m benchmarks.label --rows 1000000 10000000
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.evaluation import make_scores
from benchmarks.processes import Measured, run_measured


def choose(path: str, output: str) -> Measured:
    """A choice of 500 pairs."""
    command = [sys.executable, "-m", "pipelines.label", "--input", path, "--output", output]
    return run_measured([*command, "--pairs", "500"])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    args = parser.parse_args()
    print("| scored pairs | s with start-up | CPU s | peak MB |\n| --- | --- | --- | --- |")
    for rows in args.rows:
        with tempfile.TemporaryDirectory(prefix="twinbeam-bench-") as folder:
            path = str(Path(folder) / "scores.parquet")
            make_scores(rows, path)
            took = choose(path, f"{folder}/to-label")
        print(f"| {rows:,} | {took.wall:.0f} | {took.cpu:.0f} | {took.peak_mb:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
