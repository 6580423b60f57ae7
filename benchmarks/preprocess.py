"""Start-up, pairs a second and where the time goes in preprocessing, by medians.

python -m benchmarks.preprocess --input ../shared/data/lcqmc_train.parquet [--workers 2]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.processes import Measured, run_measured

FEW = 1000  # pairs whose run is as good as all start-up
PROCESSES = "--direct_running_mode=multi_processing"


def measure(path: str, recipe: str, workers: int) -> Measured:
    """Runs the command in a process of its own."""
    flags = [PROCESSES, f"--direct_num_workers={workers}"] if workers > 1 else []
    with tempfile.TemporaryDirectory(prefix="twinbeam-bench-") as folder:
        command = [
            sys.executable, "-m", "pipelines.preprocess", "--input", path,
            "--recipe", recipe, "--output", f"{folder}/examples", *flags,
        ]  # fmt: skip
        return run_measured(command)


def whole_runs(path: str, recipe: str, workers: int, repeats: int) -> str:
    """Runs the command on few pairs and on all, in turn: what is not start-up is the work."""
    rows = pq.ParquetFile(path).metadata.num_rows
    with tempfile.TemporaryDirectory(prefix="twinbeam-bench-") as folder:
        few = f"{folder}/few.parquet"
        pq.write_table(pq.read_table(path).slice(0, FEW), few)
        runs = [
            (measure(few, recipe, workers), measure(path, recipe, workers)) for _ in range(repeats)
        ]
    startup = statistics.median(small.wall for small, _ in runs)
    wall = statistics.median(large.wall for _, large in runs)
    work = statistics.median(large.wall - small.wall for small, large in runs)
    cpu = statistics.median(large.cpu - small.cpu for small, large in runs)
    peak = max(large.peak_mb for _, large in runs)
    return (
        f"{rows:,} pairs: {wall:.1f} s, of it start-up {startup:.1f} s; after start-up "
        f"{(rows - FEW) / work:,.0f} pairs/s by the clock and {(rows - FEW) / cpu:,.0f} pairs/s "
        f"of one core's time; peak {peak:,.0f} MB (median of {repeats})"
    )


def timed(seconds: dict[str, float], name: str, work: Callable[[], Any]) -> Any:
    """Does the work and notes its seconds."""
    started = time.perf_counter()
    result = work()
    seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - started
    return result


def placed(tokens: Any) -> Any:
    """Looks tokens up as the graph does, but for the few distinct ones' own look-up."""
    import tensorflow as tf

    _, place = tf.unique(tokens.flat_values)
    return tokens.with_flat_values(tf.cast(place, tf.int64))


def where_time_goes(path: str, recipe_name: str) -> dict[str, float]:
    """Seconds of each step's own function on the same rows, without Beam."""
    import tensorflow as tf

    from model.recipe.reading import load_recipe
    from pipelines.examples.transform_graph import text_features
    from transforms.examples.counts import count_features
    from transforms.examples.ordering import in_order
    from transforms.examples.records import deal, raw_rows, serialize, unpack, write_records
    from transforms.examples.split import EvalSplit
    from transforms.input.read_shards import read_shard
    from transforms.input.shards import plan_shards
    from transforms.pairs import PairColumns, split_rows

    recipe, columns = load_recipe(recipe_name), PairColumns(label="label")
    features, labels, seconds = text_features(recipe, ()), recipe.label_rule, {}
    count = tf.function(lambda texts: tf.unique_with_counts(features.tokenize(texts).flat_values))
    ids = tf.function(lambda texts: placed(features.tokenize(texts)))
    for graph in (count, ids):
        graph(tf.constant(["warm", "up"]))
    pieces = []
    for shard in plan_shards([path], columns, shard_rows=131_072):
        batches = timed(seconds, "read Parquet", lambda s=shard: list(read_shard(s)))
        for batch in batches:
            good, _ = timed(
                seconds,
                "check rows",
                lambda b=batch: split_rows(b, columns, max_chars=10_000, labels=labels),
            )
            raw = timed(
                seconds,
                "split by hash",
                lambda g=good: raw_rows(g, columns, labels, EvalSplit(0.1)),
            )["train"]
            texts = [raw.column(side).flatten().to_numpy(zero_copy_only=False) for side in (0, 1)]
            timed(seconds, "learn (graph)", lambda t=texts: [count(side) for side in t])
            sides = timed(seconds, "transform (graph)", lambda t=texts: [ids(side) for side in t])
            columns_out = [
                pa.LargeListArray.from_arrays(side.row_splits.numpy(), side.flat_values.numpy())
                for side in sides
            ]
            encoded = pa.RecordBatch.from_arrays(
                [*columns_out, raw.column(2)], names=["ids1", "ids2", "label"]
            )
            records = timed(seconds, "serialise", lambda e=encoded: serialize(e))
            timed(seconds, "count", lambda e=encoded: count_features("train", e, labels, 1))
            pieces += timed(seconds, "deal to files", lambda r=records: list(deal(r, 16)))
    with tempfile.TemporaryDirectory(prefix="twinbeam-bench-") as folder:
        for number in range(16):
            mine = [packed for file, packed in pieces if file == number]
            ordered = timed(
                seconds, "order", lambda m=mine: list(in_order(p for one in m for p in unpack(one)))
            )
            target = str(Path(folder) / str(number))
            timed(seconds, "write gzip", lambda o=ordered, t=target: write_records(t, o))
    return seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--input", required=True, metavar="FILE")
    parser.add_argument("--recipe", default="char-bilstm-manhattan")
    parser.add_argument("--workers", type=int, default=1, help="worker processes")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    print(whole_runs(args.input, args.recipe, args.workers, args.repeats))
    seconds = where_time_goes(args.input, args.recipe)
    for name, spent in sorted(seconds.items(), key=lambda item: -item[1]):
        print(f"{name:18s}{spent:6.2f} s")
    print(f"{'together':18s}{sum(seconds.values()):6.2f} s, one step after the other, without Beam")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
