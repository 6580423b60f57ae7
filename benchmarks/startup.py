"""What the start of `pipelines.score` takes, step by step, until the first shard.

python -m benchmarks.startup --model BUNDLE --file ../shared/data/bq_dev.parquet
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Run in a process of its own, in the order of the pipeline; prints the seconds of each step.
STEPS = """
import json, sys, time
bundle, clock, told = sys.argv[1], time.perf_counter, {}
at = clock()
def step(name):
    global at
    told[name], at = round(clock() - at, 2), clock()
import apache_beam; step("import Beam")
import pipelines.score; step("import the rest of the command")
from model.scoring.bundle_scorer import BundleScorer
BundleScorer(bundle).verify(); step("check the bundle's sums")
from transforms.quiet_tensorflow import import_tensorflow
import_tensorflow(); step("import TensorFlow")
import model.bundle.loading; step("import Keras and TensorFlow Text")
BundleScorer(bundle).load(); step("load the bundle and prepare its graphs")
print(json.dumps(told))
"""


def steps(model: str) -> dict[str, float]:
    """Seconds of each step."""
    command = [sys.executable, "-c", STEPS, model]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, float] = json.loads(printed.splitlines()[-1])
    return found


def whole(model: str, path: str) -> float:
    """Seconds from the command's start to its first shard."""
    with tempfile.TemporaryDirectory(prefix="twinbeam-bench-") as folder:
        flags = ["--input", path, "--model", model, "--output", f"{folder}/out"]
        started = time.time()
        command = [sys.executable, "-m", "pipelines.score", *flags]
        subprocess.run(command, check=True, capture_output=True)
        accounts = Path(folder, "out", "_shards").glob("*.parquet.json")
        return min(json.loads(path.read_text())["started"] for path in accounts) - started


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--file", required=True, metavar="PARQUET")
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    found = [steps(args.model) for _ in range(args.runs)]
    print("| step | s |\n| --- | --- |")
    for name in found[0]:
        print(f"| {name} | {statistics.median(run[name] for run in found):.1f} |")
    seconds = statistics.median(whole(args.model, args.file) for _ in range(args.runs))
    print(f"| all, from the command to the first shard | {seconds:.1f} |")


if __name__ == "__main__":
    main()
