"""Where `--encode_once=global` overtakes the default: both ways, in one and in two processes.

python -m benchmarks.encode_once --model BUNDLE --file ../shared/data/tonghuashun.parquet
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow.parquet as pq

SHARD_ROWS = 4_096
PROCESSES = {
    1: [],
    2: ["--direct_running_mode=multi_processing", "--direct_num_workers=2"],
}


def score(model: str, path: str, way: str, processes: int) -> tuple[float, int]:
    """Seconds after start-up, and sentences that were encoded, of one run."""
    with tempfile.TemporaryDirectory(prefix="twinbeam-bench-") as folder:
        flags = {"input": path, "model": model, "output": f"{folder}/out", "encode_once": way}
        flags |= {"shard_rows": str(SHARD_ROWS)}
        words = [f"--{name}={value}" for name, value in flags.items()]
        subprocess.run(
            [sys.executable, "-m", "pipelines.score", *words, *PROCESSES[processes]],
            check=True,
            capture_output=True,
        )
        manifest = json.loads(Path(folder, "out", "_manifest.json").read_text())
    return manifest["seconds"], manifest["sentences_encoded"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--file", required=True, metavar="PARQUET")
    parser.add_argument("--runs", type=int, default=1)
    args = parser.parse_args()
    print("| processes | encoded once | sentences encoded | seconds with start-up |")
    print("| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory(prefix="twinbeam-bench-") as folder:
        path = f"{folder}/pairs.parquet"
        table = pq.read_table(args.file, columns=["sentence1", "sentence2"])
        pq.write_table(table, path, row_group_size=SHARD_ROWS)
        for processes in PROCESSES:
            for way in ("shard", "global"):
                runs = [score(args.model, path, way, processes) for _ in range(args.runs)]
                seconds = statistics.median(seconds for seconds, _ in runs)
                encoded = statistics.median_low([encoded for _, encoded in runs])
                print(f"| {processes} | {way} | {encoded:,} | {seconds:.1f} |", flush=True)


if __name__ == "__main__":
    main()
