"""How a plan of shards behaves on 10 to 10,000 workers, and where planning and commit stop scaling.

    python -m benchmarks.shard_scheduling [--rows 10_000_000_000] [--measure 100_000]

The first part simulates: files of skewed sizes are cut into shards, workers take them (one by one,
as on Dataflow, or dealt out at the start, as in a batch job on Flink), some workers are slow, some
attempts fail and are done again, workers join over the first minutes. The second part measures our
own code that runs in one process: footers, the plan, and the commit of so many shards.
"""

from __future__ import annotations

import argparse
import heapq
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from transforms.accounts.claims import Claim
from transforms.accounts.commit import commit, publish
from transforms.accounts.gates import Gates

ROWS_A_SECOND = 5_000  # of one worker, with an encoder at work
SHARD_SECONDS = 0.5  # to open, read a footer, write, rename and account on object storage
WORKERS = (10, 100, 1_000, 10_000)
SHARD_ROWS = (8_192, 32_768, 131_072, 524_288, 2_097_152)
REQUEST_SECONDS = 0.05  # one answer of object storage
LIST_PAGE = 1_000


@dataclass(frozen=True)
class Trouble:
    """What goes wrong, as fractions of workers and of attempts.

    Attributes:
        slow_workers: workers that are `slowness` times slower all along.
        slowness: how much slower.
        failures: attempts that die at some moment and are done again from the start.
        joining: seconds until the last worker has joined; they join evenly.
    """

    slow_workers: float = 0.02
    slowness: float = 3.0
    failures: float = 0.01
    joining: float = 120.0


def cut_rows(file_rows: np.ndarray, shard_rows: int) -> np.ndarray:
    """Rows of all shards: every file gives full ones and a rest; float [shards]."""
    whole, rest = np.divmod(file_rows, shard_rows)
    return np.concatenate([np.full(int(whole.sum()), shard_rows), rest[rest > 0]]).astype(float)


def skewed_files(rows: int, mean: int, rng: np.random.Generator) -> np.ndarray:
    """File sizes, log-normal with sigma 1.5: a few files hold much of the rows; int [files]."""
    sizes = rng.lognormal(sigma=1.5, size=max(1, rows // mean))
    return np.maximum(1, sizes * (rows / sizes.sum())).astype(np.int64)


def attempt_seconds(shards: np.ndarray, trouble: Trouble, rng: np.random.Generator) -> np.ndarray:
    """What each shard costs a worker of full speed, with what failed attempts cost; float [n]."""
    once = SHARD_SECONDS + shards / ROWS_A_SECOND
    failed = rng.geometric(1 - trouble.failures, len(shards)) - 1
    return once * (1 + failed * rng.random(len(shards)))


def makespan(
    seconds: np.ndarray, workers: int, trouble: Trouble, rng: np.random.Generator, *, dealt: bool
) -> float:
    """When the last shard is done, seconds after the first worker has joined.

    Args:
        seconds: of each shard on a worker of full speed [n].
        workers: how many there are in the end.
        trouble: see `Trouble`.
        rng: of what is random.
        dealt: whether shards are dealt out in turn at the start; else a free worker takes the next.
    """
    slowness = np.where(rng.random(workers) < trouble.slow_workers, trouble.slowness, 1.0)
    joined = np.linspace(0, trouble.joining, workers)
    if dealt:
        owner = np.arange(len(seconds)) % workers
        return float((joined + np.bincount(owner, seconds, workers) * slowness).max())
    free = [(moment, worker) for worker, moment in enumerate(joined)]
    heapq.heapify(free)
    last = 0.0
    for cost in rng.permutation(seconds).tolist():
        moment, worker = free[0]
        moment += cost * slowness[worker]
        last = max(last, moment)
        heapq.heapreplace(free, (moment, worker))
    return last


def efficiency(
    file_rows: np.ndarray, shard_rows: int, workers: int, *, dealt: bool, seed: int = 0
) -> float:
    """Time the rows alone would take on workers of full speed that are all there, over the real."""
    rng, trouble = np.random.default_rng(seed), Trouble()
    shards = cut_rows(file_rows, shard_rows)
    took = makespan(attempt_seconds(shards, trouble, rng), workers, trouble, rng, dealt=dealt)
    return float(file_rows.sum() / ROWS_A_SECOND / workers / took)


def table(rows: int, *, dealt: bool) -> str:
    """Efficiency by shard size and workers, as Markdown."""
    file_rows = skewed_files(rows, 1_000_000, np.random.default_rng(1))
    lines = [
        "| rows of a shard | shards | " + " | ".join(f"{n:,} workers" for n in WORKERS) + " |",
        "| --- " * (2 + len(WORKERS)) + "|",
    ]
    for size in SHARD_ROWS:
        cells = [f"{efficiency(file_rows, size, n, dealt=dealt):.2f}" for n in WORKERS]
        count = len(cut_rows(file_rows, size))
        lines.append(f"| {size:,} | {count:,} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def waiting(threads: Sequence[int], files: Sequence[int]) -> str:
    """Seconds that object storage's answers take before the first shard starts, as Markdown."""
    lines = [
        "| files | listing s | " + " | ".join(f"footers s, {n} threads" for n in threads) + " |",
        "| --- " * (2 + len(threads)) + "|",
    ]
    for count in files:
        listing = -(-count // LIST_PAGE) * REQUEST_SECONDS
        # Opening asks for the size; the end of the file and the footer are two reads.
        footers = [3 * count * REQUEST_SECONDS / n for n in threads]
        cells = " | ".join(f"{seconds:,.0f}" for seconds in footers)
        lines.append(f"| {count:,} | {listing:,.1f} | {cells} |")
    return "\n".join(lines)


def measure_commit(shards: int, way: str) -> str:
    """Commits accounts of so many shards in a process of its own; a row of the table."""
    run = [sys.executable, "-m", "benchmarks.shard_scheduling", f"--{way}", str(shards)]
    printed = subprocess.run(run, check=True, capture_output=True, text=True).stdout.split()
    return f"| {shards:,} | {way} | {float(printed[0]):.1f} | {int(printed[1]):,} |"


def time_commit(shards: int, way: str) -> tuple[float, int]:
    """Seconds of the commit, and how much memory it took above what was there before, in MB."""
    from transforms.accounts import blocks

    with tempfile.TemporaryDirectory(prefix="twinbeam-bench-") as folder:
        names = [f"part-{n:07d}-00000-of-00001.parquet" for n in range(shards)]
        how = {"header": {}, "gates": Gates(1.0)}
        if way == "together":
            base = _peak_mb()
            started = time.perf_counter()
            accounts = [_account(name) for name in names]
            commit(Claim(folder), accounts, expected=names, **how)
            return time.perf_counter() - started, _peak_mb() - base
        planned = blocks.AccountBlocks.plan(Claim(folder), names)
        parts = []  # what each worker does alone, with one block in its memory
        for first in range(0, shards, blocks.BLOCK_SHARDS):
            part = [(True, _account(name)) for name in names[first : first + blocks.BLOCK_SHARDS]]
            parts.append(planned.add_up(first // blocks.BLOCK_SHARDS + 1, part))
        base = _peak_mb()
        started = time.perf_counter()
        publish(Claim(folder), blocks.merge(parts).summary, **how)
        return time.perf_counter() - started, _peak_mb() - base


def _account(name: str):
    from transforms.accounts.shard_account import ShardAccount, WrittenFile, rejects_name

    shard = {"source": "in/" + name, "fingerprint": "0" * 32, "name": name}
    shard |= {"first_row_group": 0, "end_row_group": 1, "rows": 131_072}
    written = tuple(
        WrittenFile(path, 1, "0" * 64, shard["source"]) for path in (name, rejects_name(name))
    )
    counts = {"sentences": 262_144, "sentences_encoded": 9}
    profile = {"lengths": [9] * 64, "similarities": [9] * 32}
    return ShardAccount(
        shard, "0" * 32, 131_072, 131_071, 1, {"null": 1}, counts, written, 1.0, 2.0, profile
    )


def _peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000_000)
    parser.add_argument("--measure", type=int, nargs="*", default=[1_000, 10_000, 100_000])
    for way in ("together", "blocks"):
        parser.add_argument(f"--{way}", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    for way in ("together", "blocks"):
        if getattr(args, way):
            print(*time_commit(getattr(args, way), way))
            return
    print(f"Efficiency, {args.rows:,} rows in files of 1,000,000 on average; shards are taken:\n")
    print(table(args.rows, dealt=False))
    print("\nShards are dealt out:\n")
    print(table(args.rows, dealt=True))
    print("\nBefore the first shard starts:\n")
    print(waiting((1, 16, 64), (100, 10_000, 100_000, 1_000_000)))
    print("\n| shards | commit | s | MB |\n| --- | --- | --- | --- |")
    for shards in args.measure:
        for way in ("together", "blocks"):
            print(measure_commit(shards, way), flush=True)


if __name__ == "__main__":
    main()
