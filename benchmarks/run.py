"""Runs the benchmarks of scoring and writes RESULTS.md and a plot beside this file.

make bench ARGS='--model BUNDLE --heavy_model MINILM_BUNDLE --data ../shared/data'
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
from datetime import date
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import workers
from benchmarks.growth import ROWS, grow
from benchmarks.score import WAYS, Measured, compare, table

HERE = Path(__file__).parent
PACKAGES = ("apache-beam", "tensorflow", "keras", "pyarrow")


def without_repeats(source: str, path: str, *, row_group_size: int = 16_384) -> None:
    """Pairs up the distinct sentences of a file, each in one pair only."""
    read = pq.read_table(source, columns=["sentence1", "sentence2"])
    distinct = pa.concat_arrays([column.combine_chunks() for column in read.columns]).unique()
    half = len(distinct) // 2
    sides = [distinct.slice(0, half), distinct.slice(half, half)]
    pq.write_table(pa.table(sides, names=read.schema.names), path, row_group_size=row_group_size)


def machine() -> str:
    """Where this was measured."""
    model = next(
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    )
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    return (
        f"{date.today()}, {len(os.sched_getaffinity(0))} cores of {model}, {memory} GB, "
        f"Python {platform.python_version()}, {packages}."
    )


def plot(ways: dict[str, dict[str, list[Measured]]], growth: dict[int, list[Measured]]) -> None:
    """Pairs a second by way, and time and memory by rows."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, middle, right) = pyplot.subplots(1, 3, figsize=(15, 4.5))
    for place, (name, runs) in enumerate(ways.items()):
        speeds = [statistics.median(run.speed for run in group) for group in runs.values()]
        spots = [number + 0.25 * place for number in range(len(runs))]
        left.bar(spots, speeds, width=0.22, label=name)
        left.set_xticks(range(len(runs)), list(runs))
    left.set(yscale="log", ylabel="pairs a second", title="By way of scoring")
    left.legend()
    rows = list(growth)
    for axis, values, label in (
        (middle, [statistics.median(run.seconds for run in growth[n]) for n in rows], "seconds"),
        (right, [statistics.median(run.peak_mb for run in growth[n]) for n in rows], "peak MB"),
    ):
        axis.plot([n / 1e6 for n in rows], values, marker="o")
        axis.set(xlabel="million pairs", ylabel=label, ylim=(0, None))
    figure.tight_layout()
    figure.savefig(HERE / "results.png", dpi=110)


def heavy(model: str, path: str, runs: int) -> str:
    """`reuse` in a process of its own: what this one holds would count as its children's memory."""
    flags = ["--model", model, "--file", path, "--runs", str(runs)]
    command = [sys.executable, "-m", "benchmarks.reuse", *flags]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="a bundle of char-bilstm-manhattan")
    parser.add_argument("--heavy_model", help="a bundle of bert-mean-cosine")
    parser.add_argument("--data", required=True, help="folder with the BQ, LCQMC and other files")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--rows", type=int, nargs="+", default=list(ROWS))
    args = parser.parse_args()
    command = shlex.join(["python", "-m", "benchmarks.run", *sys.argv[1:]])
    lines = [f"# Measured\n\n{machine()}\n\nCommand: `{command}`; medians of {args.runs} runs.\n"]
    with tempfile.TemporaryDirectory(prefix="twinbeam-bench-") as folder:
        lcqmc = f"{args.data}/lcqmc_train.parquet"
        without_repeats(lcqmc, f"{folder}/no_repeats.parquet")
        files = {
            "BQ": f"{args.data}/bq_train80k.parquet",
            "LCQMC": lcqmc,
            "no repeats": f"{folder}/no_repeats.parquet",
        }
        ways = {}
        for name, path in files.items():
            ways[name] = compare(path, args.model, list(WAYS), args.runs)
            lines.append(table(name, ways[name]))
        lines.append("## Two workers of one core each, on the file without repeats\n")
        lines.append(workers.compare(args.model, files["no repeats"], args.runs))
    if args.heavy_model:
        lines.append("## MiniLM on Tonghuashun\n")
        lines.append(heavy(args.heavy_model, f"{args.data}/tonghuashun.parquet", args.runs))
    grown, growth = grow(args.model, files["BQ"], args.rows, runs=1)
    lines.append("## As the rows grow\n\nRandom pairs of BQ's sentences; one run each.\n\n" + grown)
    plot(ways, growth)
    lines.append("![pairs a second by way; time and memory by rows](results.png)\n")
    (HERE / "RESULTS.md").write_text("\n".join(lines))


if __name__ == "__main__":
    main()
