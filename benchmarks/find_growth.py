"""What a search holds in memory, and how fast it compares, as tables grow.

python -m benchmarks.find_growth --rows 1000000 5000000 --units 12

Starts the real command on so many made-up vectors, looks at its memory (the kernel's own record of
the peak, of the command and all its workers) until so many units of blocks were compared, and ends
it there: a unit holds two blocks, however many there are. Vectors lie in a file that is read where
it is needed, as a bundle would make them, block by block.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.find import DISTANCES, VectorBundle, made_up

AT_ONCE = 100_000


def write_vectors(path: str, rows: int, dimensions: int) -> None:
    """Made-up vectors, part by part, so that they are never all in memory."""
    into = np.lib.format.open_memmap(path, "w+", np.float32, (rows, dimensions))
    for start in range(0, rows, AT_ONCE):
        part = into[start : start + AT_ONCE]
        part[:] = made_up(len(part), dimensions, seed=start + 1)
    into.flush()


def write_sentences(path: str, rows: int) -> None:
    """The sentence `17` has the 17th vector."""
    schema = pa.schema([("id", pa.int64()), ("sentence", pa.string())])
    with pq.ParquetWriter(path, schema) as to:
        for start in range(0, rows, AT_ONCE):
            numbers = pa.array(np.arange(start, min(start + AT_ONCE, rows)))
            to.write_table(pa.table([numbers, numbers.cast(pa.string())], schema=schema))


def peak_mb(group: int) -> float:
    """The sum of the peaks of all processes of a group."""
    total = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            if os.getpgid(int(status.parent.name)) == group:
                lines = status.read_text().splitlines()
                total += sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
        except (OSError, ProcessLookupError):
            continue
    return total / 1024


def watch(folder: Path, words: list[str], units: int) -> tuple[float, float, float]:
    """Runs the search until so many units are done: peak, seconds before them, seconds of them."""
    started, first, peak, done = time.monotonic(), 0.0, 0.0, 0
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.find_growth", "--search", "--", *words],
        start_new_session=True, stdout=subprocess.DEVNULL,
    ) as run:  # fmt: skip
        while run.poll() is None and done < units:
            time.sleep(0.2)
            peak = max(peak, peak_mb(run.pid))
            done = len(list(folder.glob("out/_shards/pairs-*.json")))
            first = first or (time.monotonic() if done else 0.0)
        ended = time.monotonic()
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
    return peak, first - started, ended - first


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 5_000_000])
    parser.add_argument("--dimensions", type=int, default=384)
    parser.add_argument("--distance", choices=DISTANCES, default="cosine")
    parser.add_argument("--units", type=int, default=12)
    parser.add_argument("--folder", help="where to write the vectors (default: a temporary folder)")
    parser.add_argument("--search", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("flags", nargs="*", help="flags of find, after --")
    args = parser.parse_args()
    if args.search:
        return search_files(args.flags)
    for rows in args.rows:
        with tempfile.TemporaryDirectory(prefix="twinbeam-bench-", dir=args.folder) as name:
            folder = Path(name)
            write_vectors(str(folder / "vectors.npy"), rows, args.dimensions)
            write_sentences(str(folder / "in.parquet"), rows)
            words = ["--input", f"{folder}/in.parquet", "--output", f"{folder}/out"]
            words += ["--model", f"{folder}/vectors.npy@{args.distance}", "--cells", "0"]
            found = watch(folder, [*words, "--min_similarity", "0.8", *args.flags], args.units)
            print(f"{rows:,} x {args.dimensions}: peak {found[0]:,.0f} MB; {found[1]:.0f} s to the "
                  f"first unit, then {args.units - 1} units in {found[2]:.0f} s",
                  flush=True)  # fmt: skip


def search_files(flags: list[str]) -> None:
    """The command, with vectors from a file in place of a bundle."""
    from pipelines import find

    find.BundleScorer = VectorBundle  # type: ignore[misc,assignment]
    find.run(flags)


if __name__ == "__main__":
    main()
