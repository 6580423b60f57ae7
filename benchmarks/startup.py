"""What a start takes: of every command's help, and of `score` step by step, until the first shard.

python -m benchmarks.startup
python -m benchmarks.startup --model BUNDLE --file pairs.parquet
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from twinbeam.commands import COMMANDS

# Run in a process of its own, in the order of the pipeline; prints the seconds of each step, by the
# clock and of the processor.
STEPS = """
import json, sys, time
bundle, spent = sys.argv[1], {}
clocks = lambda: (time.perf_counter(), time.process_time())
at = clocks()
def step(name):
    global at
    now = clocks()
    spent[name], at = [after - before for before, after in zip(at, now)], now
from transforms.lean_imports import import_beam, uncollected
import_beam(); step("import Beam")
with uncollected():
    import pipelines.score
step("import the rest of the command")
from model.scoring.bundle_scorer import BundleScorer
BundleScorer(bundle).verify(); step("check the bundle's sums")
from transforms.quiet_tensorflow import import_tensorflow
import_tensorflow(); step("import TensorFlow")
BundleScorer(bundle).load(); step("load the bundle and prepare its graphs")
print(json.dumps(spent))
"""


def steps(model: str) -> dict[str, list[float]]:
    """Seconds of each step, by the clock and of the processor."""
    command = [sys.executable, "-c", STEPS, model]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, list[float]] = json.loads(printed.splitlines()[-1])
    return found


def whole(model: str, path: str) -> float:
    """Seconds from the command's start to its first shard."""
    with tempfile.TemporaryDirectory(prefix="twinbeam-bench-") as folder:
        flags = ["--input", path, "--model", model, "--output", f"{folder}/out"]
        started = time.time()
        command = [sys.executable, "-m", "twinbeam", "score", *flags]
        subprocess.run(command, check=True, capture_output=True)
        accounts = Path(folder, "out", "_shards").glob("*.parquet.json")
        return min(json.loads(path.read_text())["started"] for path in accounts) - started


def timed(words: Sequence[str]) -> tuple[float, float]:
    """Seconds of a command by the clock, and of the processor."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "twinbeam", *words]
    subprocess.run(command, check=True, capture_output=True)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def print_light_commands(runs: int) -> None:
    """What the commands take that load neither Beam nor TensorFlow: each help, convert, inspect."""
    with tempfile.TemporaryDirectory(prefix="twinbeam-bench-") as folder:
        table, parquet = Path(folder, "pairs.csv"), f"{folder}/pairs.parquet"
        table.write_text("sentence1,sentence2\n" + "how do I pay?,where to pay\n" * 100)
        flags = ["--input", str(table), "--output", parquet, "--no_label", "--overwrite"]
        light = [[name, "--help"] for name in COMMANDS]
        light += [["--help"], ["convert", *flags], ["inspect", parquet]]
        print("| command | s | s of the processor |\n| --- | --- | --- |")
        for words in light:
            wall, cpu = zip(*(timed(words) for _ in range(runs)), strict=True)
            name = " ".join(words[:1] if len(words) > 2 or parquet in words else words)
            print(f"| {name} | {statistics.median(wall):.2f} | {statistics.median(cpu):.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", help="measure the start of scoring with this bundle instead")
    parser.add_argument("--file", metavar="PARQUET", help="of pairs, for --model")
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    if not (args.model and args.file):
        print_light_commands(args.runs)
        return
    found = [steps(args.model) for _ in range(args.runs)]
    print("| step | s | s of the processor |\n| --- | --- | --- |")
    for name in found[0]:
        wall, cpu = (statistics.median(run[name][at] for run in found) for at in (0, 1))
        print(f"| {name} | {wall:.1f} | {cpu:.1f} |")
    cpu = statistics.median(sum(spent for _, spent in run.values()) for run in found)
    seconds = statistics.median(whole(args.model, args.file) for _ in range(args.runs))
    print(f"| all, from the command to the first shard | {seconds:.1f} | {cpu:.1f} |")


if __name__ == "__main__":
    main()
