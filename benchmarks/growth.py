"""Time and peak memory of `pipelines.score` as the rows grow, on pairs of a file's sentences.

python -m benchmarks.growth --model BUNDLE --sentences ../shared/data/bq_train80k.parquet
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.score import Measured, measure

ROW_GROUP = 65_536
ROWS = (100_000, 200_000, 1_000_000, 2_000_000, 5_000_000)


def make_pairs(source: str, rows: int, path: str) -> None:
    """Writes so many random pairs of the source's distinct sentences."""
    table = pq.read_table(source, columns=["sentence1", "sentence2"])
    sides = [column.combine_chunks() for column in table.columns]
    distinct = pa.concat_arrays(sides).unique()
    rng = np.random.default_rng(rows)
    schema = pa.schema(
        [("id", pa.int64()), *((name, distinct.type) for name in table.schema.names)]
    )
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for start in range(0, rows, ROW_GROUP):
            count = min(ROW_GROUP, rows - start)
            columns = [
                distinct.take(pa.array(rng.integers(len(distinct), size=count))) for _ in "ab"
            ]
            ids = pa.array(np.arange(start, start + count))
            writer.write_table(pa.table([ids, *columns], schema=schema))


def line(rows: int, runs: list[Measured]) -> str:
    seconds = statistics.median(run.seconds for run in runs)
    wall = statistics.median(run.wall for run in runs)
    peak = statistics.median(run.peak_mb for run in runs)
    return f"| {rows:,} | {seconds:.1f} | {wall:.1f} | {1e6 * seconds / rows:.2f} | {peak:,.0f} |"


def deviation(measured: dict[int, list[Measured]]) -> float:
    """How far the worst size lies from the straight line through the smallest and the largest."""
    seconds = {
        rows: statistics.median(run.seconds for run in group) for rows, group in measured.items()
    }
    least, most = min(seconds), max(seconds)
    slope = (seconds[most] - seconds[least]) / max(most - least, 1)
    line = {rows: seconds[least] + slope * (rows - least) for rows in seconds}
    return max(abs(seconds[rows] / line[rows] - 1) for rows in seconds)


def grow(model: str, sentences: str, rows: list[int], runs: int) -> tuple[str, dict]:
    """The table as Markdown, and the runs of each size."""
    lines = ["| pairs | scoring s | with start-up s | µs a pair | peak MB |"]
    lines.append("| --- | --- | --- | --- | --- |")
    measured = {}
    with tempfile.TemporaryDirectory(prefix="twinbeam-bench-") as folder:
        for count in rows:
            path = str(Path(folder) / f"{count}.parquet")
            make_pairs(sentences, count, path)
            measured[count] = [measure("ours", path, model) for _ in range(runs)]
            lines.append(line(count, measured[count]))
            print(lines[-1], file=sys.stderr, flush=True)
            Path(path).unlink()
    summary = (
        f"\nAt most {deviation(measured):.1%} off a straight line. Each distinct sentence is\n"
    )
    return "\n".join(
        lines
    ) + "\n" + summary + "encoded once, and this part does not grow.\n", measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--sentences", required=True, metavar="PARQUET")
    parser.add_argument("--rows", type=int, nargs="+", default=list(ROWS))
    parser.add_argument("--runs", type=int, default=1)
    args = parser.parse_args()
    print(grow(args.model, args.sentences, args.rows, args.runs)[0])


if __name__ == "__main__":
    main()
