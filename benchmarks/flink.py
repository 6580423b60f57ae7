"""Scores on a local Flink cluster: pairs a second by task slots, and memory over many pairs.

    python -m benchmarks.flink slots --model BUNDLE --input ../shared/data/lcqmc_train.parquet
    python -m benchmarks.flink memory --model BUNDLE --input ../shared/data/bq_train80k.parquet

It starts a cluster of two TaskManagers with a slot each and stops it at the end. The workers share
the cores, so on two cores each has one.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.growth import make_pairs
from benchmarks.run import without_repeats
from deploy.flink import cluster, jars

ROOT = Path(__file__).resolve().parents[1]


@contextmanager
def running() -> Iterator[None]:
    """A cluster of two TaskManagers with one slot each."""
    if cluster.overview():
        raise SystemExit(
            f"a Flink cluster runs at {cluster.REST} already; stop it with: make flink-down"
        )
    try:
        cluster.up(cluster.Cluster(task_managers=2, slots=1))
        yield
    finally:
        cluster.down()


def start(model: str, source: str, output: str, *flags: str) -> subprocess.Popen:
    """Starts a scoring run on the cluster."""
    command = [sys.executable, "-m", "pipelines.score", "--model", model, "--input", source]
    command += ["--output", output, "--runner=FlinkRunner", f"--flink_master={cluster.REST}"]
    command += [f"--flink_job_server_jar={jars.JOB_SERVER}", "--environment_type=EXTERNAL"]
    command += [f"--environment_config=localhost:{cluster.POOL_PORT}", *flags]
    return subprocess.Popen(command, cwd=ROOT, stdout=sys.stderr, stderr=subprocess.DEVNULL)


def finish(run: subprocess.Popen, output: str) -> dict:
    """The manifest of a run that went well."""
    if run.wait():
        raise SystemExit("the run failed; see .flink/run/*.log")
    return json.loads((Path(output) / "_manifest.json").read_text())


def speed(model: str, source: str, slots: int, shard_rows: int) -> tuple[float, float]:
    """Pairs a second while shards are scored, and over the whole command."""
    with tempfile.TemporaryDirectory(prefix="twinbeam-bench-") as folder:
        flags = (f"--parallelism={slots}", f"--shard_rows={shard_rows}")
        started = time.monotonic()
        manifest = finish(start(model, source, folder + "/out", *flags), folder + "/out")
        wall = time.monotonic() - started
        return manifest["rows_in"] / manifest["seconds_scoring"], manifest["rows_in"] / wall


def repeat(source: str, path: str, times: int) -> None:
    """Writes all pairs so many times, with other sentences each time: a mark at their ends."""
    table = pq.read_table(source)
    with pq.ParquetWriter(path, table.schema) as writer:
        for mark in (pa.scalar(str(number), table.schema.types[0]) for number in range(times)):
            none = pa.scalar("", mark.type)
            marked = [pc.binary_join_element_wise(column, mark, none) for column in table.columns]
            writer.write_table(pa.table(marked, schema=table.schema), row_group_size=1_024)


def compare_slots(model: str, source: str, shard_rows: int, runs: int, times: int) -> None:
    """Prints pairs a second with one and with two slots, run by run in turn."""
    with tempfile.TemporaryDirectory(prefix="twinbeam-bench-") as folder, running():
        pairs = folder + "/pairs.parquet"
        without_repeats(source, folder + "/once.parquet")
        repeat(folder + "/once.parquet", pairs, times)
        found: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
        for _ in range(runs):
            for slots, speeds in found.items():
                speeds.append(speed(model, pairs, slots, shard_rows))
                print(slots, *map(round, speeds[-1]), file=sys.stderr, flush=True)
    scoring = {n: statistics.median(each[0] for each in speeds) for n, speeds in found.items()}
    whole = {n: statistics.median(each[1] for each in speeds) for n, speeds in found.items()}
    print("| task slots | pairs/s while scoring | with start-up |\n| --- | --- | --- |")
    for slots in found:
        print(f"| {slots} | {scoring[slots]:,.0f} | {whole[slots]:,.0f} |")
    print(f"\n{scoring[2] / scoring[1]:.2f} times, medians of {runs} runs of each")


def measure_memory(model: str, source: str, rows: int) -> None:
    """Prints the peak memory of every process of a run over so many pairs."""
    with tempfile.TemporaryDirectory(prefix="twinbeam-bench-") as folder, running():
        make_pairs(source, rows, folder + "/pairs.parquet")
        run = start(model, folder + "/pairs.parquet", folder + "/out", "--parallelism=2")
        ended, peaks = threading.Event(), {}
        watch = threading.Thread(target=_watch, args=(run.pid, peaks, ended))
        watch.start()
        try:
            manifest = finish(run, folder + "/out")
        finally:
            ended.set()
            watch.join()
    keys = ("rows_in", "rows_scored", "shards", "seconds", "seconds_scoring", "pairs_per_second")
    print(", ".join(f"{key} {manifest[key]:,}" for key in keys))
    print("\n| process | peak MB |\n| --- | --- |")
    for name, peak in sorted(peaks.items()):
        print(f"| {name} | {peak:,} |")


def _watch(launcher: int, peaks: dict[str, int], ended: threading.Event) -> None:
    """Notes the greatest peak memory of each process, until the run has ended."""
    named = {launcher: "launcher"} | {each.pid: n for n, each in cluster.processes().items()}
    while not ended.wait(0.2):
        for status in Path("/proc").glob("[0-9]*/status"):
            try:
                fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
                parent = named.get(int(fields["PPid"]))
                name = named.get(int(status.parent.name)) or (parent and f"{parent}: child")
                if name and "VmHWM" in fields:
                    peak = int(fields["VmHWM"].split()[0]) >> 10
                    peaks[name] = max(peaks.get(name, 0), peak)
            except (OSError, ValueError):  # it has just ended
                continue


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("slots", "memory"))
    parser.add_argument("--model", required=True)
    parser.add_argument("--input", required=True, metavar="PARQUET")
    parser.add_argument("--rows", type=int, default=5_000_000, help="of the run over many pairs")
    parser.add_argument("--shard_rows", type=int, default=8_192, help="of the runs by slots")
    parser.add_argument("--times", type=int, default=3, help="more work for the runs by slots")
    parser.add_argument("--runs", type=int, default=1)
    args = parser.parse_args()
    if args.what == "slots":
        compare_slots(args.model, args.input, args.shard_rows, args.runs, args.times)
    else:
        measure_memory(args.model, args.input, args.rows)


if __name__ == "__main__":
    main()
