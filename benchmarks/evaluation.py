"""Time and peak memory of `pipelines.evaluate` as the rows grow, on made-up labelled scores.

python -m benchmarks.evaluation --rows 200000 5000000
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.processes import run_measured

ROW_GROUP = 65_536
SENTENCES = 20_000


def make_scores(rows: int, path: str) -> None:
    """Writes scores that agree with their labels a little, over repeated sentences."""
    rng = np.random.default_rng(rows)
    sentences = pa.array([f"how do I pay bill number {number}" for number in range(SENTENCES)])
    names = ["sentence1", "sentence2", "label", "similarity", "similarity_label"]
    writer = None
    for start in range(0, rows, ROW_GROUP):
        count = min(ROW_GROUP, rows - start)
        label = rng.integers(2, size=count)
        similarity = rng.beta(2 + label, 3 - label).astype(np.float32)
        sides = [sentences.take(pa.array(rng.integers(SENTENCES, size=count))) for _ in "ab"]
        columns = [*sides, label, similarity, (similarity >= 0.5).astype(np.int64)]
        table = pa.table(dict(zip(names, columns, strict=True)))
        writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table)
    if writer:
        writer.close()


def measure_growth(about: str, rows: list[int], command: list[str]) -> None:
    """Prints what a command takes over more and more scores, as a table.

    Args:
        about: the benchmark's own description, for its help.
        rows: how many scores, unless `--rows` says otherwise.
        command: a module of `pipelines` and its flags, without input and output.
    """
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=rows)
    args = parser.parse_args()
    print("| rows | s with start-up | CPU s | peak MB |\n| --- | --- | --- | --- |")
    for count in args.rows:
        with tempfile.TemporaryDirectory(prefix="twinbeam-bench-") as folder:
            path = str(Path(folder) / "scores.parquet")
            make_scores(count, path)
            places = ["--input", path, "--output", f"{folder}/output"]
            took = run_measured([sys.executable, "-m", *command, *places])
        print(f"| {count:,} | {took.wall:.1f} | {took.cpu:.1f} | {took.peak_mb:,.0f} |", flush=True)


if __name__ == "__main__":
    binary = ["--task=binary", "--classes", "0", "1"]
    measure_growth(__doc__ or "", [200_000, 5_000_000], ["pipelines.evaluate", *binary])
