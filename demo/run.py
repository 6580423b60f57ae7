"""Runs every step on synthetic questions, and shows a table of the results.

First the pairs are scored by a pre-trained model, which needs no labels; then a model is
trained on labelled ones and scores the same pairs, and a report says how well; in the end it finds
all similar questions among them and makes clusters: generate, score, preprocess, train, score,
evaluate, find, cluster.

Each step is the real command line in a process of its own; the numbers come from the manifests
that the steps leave, and the accuracy from the scored Parquet itself.

    python -m demo.run demo-data
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from demo import pairs

UNTRAINED = "universal-cosine"  # of use before anything is trained
RECIPE = "char-bilstm-manhattan"
EPOCHS = 3  # enough to show learning, short enough for a demonstration
CERTAIN = 0.92  # pairs that make clusters: of less sure ones a few chain most questions together
BATCH = 256  # half the recipe's, for twice the steps: there is little to learn from
# TensorFlow greets before any setting can stop it; here a reader looks for our messages.
GREETING = re.compile(
    r"[IWE]0000 |WARNING: All log messages before absl|To enable the following in"
)
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONWARNINGS": "ignore"}


@dataclass(frozen=True)
class Step:
    """What one step did, a line of the table; None where a step has no such number.

    `pairs` are those it worked through, again in each epoch; `seconds` include start-up.
    """

    name: str
    seconds: float
    pairs: int
    rows_in: int | None
    scored: int | None = None
    rejected: int | None = None
    accuracy: float | None = None
    output: Path | str = ""


def run(argv: Sequence[str] | None = None) -> list[Step]:
    """Runs every step below a fresh folder and shows the table."""
    parser = argparse.ArgumentParser(prog="python -m demo.run", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("demo-data"))
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    args = parser.parse_args(argv)
    if args.folder.exists():
        shutil.rmtree(args.folder)
    steps = [generate(args.folder), take_untrained(args.folder)]
    steps += [score(args.folder, "score untrained", "bundle-untrained", "scores-untrained")]
    steps += [preprocess(args.folder), train(args.folder, args.epochs)]
    steps += [score(args.folder, "score", "bundle", "scores")]
    steps += [evaluate(args.folder), find(args.folder), cluster(args.folder)]
    show(steps)
    show_clusters(args.folder / "clusters")
    print(f"how good the scores are: {args.folder / 'report' / 'report.html'}")
    return steps


def generate(folder: Path) -> Step:
    """Makes the pairs."""
    seconds = timed([sys.executable, "-m", "demo.pairs", str(folder / "pairs")])
    rows = pairs.LABELLED_ROWS + pairs.TO_SCORE_ROWS
    return Step("generate", seconds, rows, rows, output=folder / "pairs")


def take_untrained(folder: Path) -> Step:
    """A pre-trained model → bundle."""
    output = folder / "bundle-untrained"
    seconds = timed(command("train", recipe=UNTRAINED, output=output))
    return Step("take untrained", seconds, 0, None, output=output)


def preprocess(folder: Path) -> Step:
    """Labelled pairs → examples."""
    output = folder / "examples"
    flags = {"input": folder / "pairs/labelled/*.parquet", "recipe": RECIPE, "output": output}
    seconds = timed(command("preprocess", **flags))
    manifest = read_json(output / "manifest.json")
    rows = manifest["rows_in"]
    return Step("preprocess", seconds, rows, rows, None, manifest["rows_rejected"], None, output)


def train(folder: Path, epochs: int) -> Step:
    """Examples → bundle; its accuracy is that on the eval part."""
    output = folder / "bundle"
    flags = {"examples": folder / "examples", "epochs": epochs, "global_batch_size": BATCH}
    seconds = timed(command("train", **flags, output=output))
    rows = read_json(folder / "examples/manifest.json")["rows_train"]
    accuracy = read_json(output / "metrics.json")["eval_accuracy"]
    return Step("train", seconds, rows * epochs, rows, accuracy=accuracy, output=output)


def score(folder: Path, name: str, bundle: str, scores: str) -> Step:
    """Pairs and a bundle → scored pairs."""
    output = folder / scores
    flags = {"input": folder / "pairs/to-score/*.parquet", "model": folder / bundle}
    seconds = timed(command("score", **flags, output=output))
    manifest = read_json(output / "_manifest.json")
    counts = manifest["rows_in"], manifest["rows_scored"], manifest["rows_rejected"]
    return Step(name, seconds, manifest["rows_in"], *counts, scored_accuracy(output), output)


def evaluate(folder: Path) -> Step:
    """Scored pairs with labels → a report of how good the scores are."""
    output = folder / "report"
    flags = {"input": folder / "scores", "train_input": folder / "pairs/labelled/*.parquet"}
    seconds = timed(command("evaluate", **flags, output=output))
    report = read_json(output / "metrics.json")
    accuracy = report["metrics"]["accuracy"]
    return Step("evaluate", seconds, report["rows"], report["rows"], None, None, accuracy, output)


def find(folder: Path) -> Step:
    """Questions and the bundle → the pairs of them that are similar, which no table lists."""
    output = folder / "similar"
    flags = {"input": folder / "pairs/to-score/*.parquet", "sentence_column": "sentence1"}
    flags |= {"equal_sentences": "first", "model": folder / "bundle"}
    seconds = timed(command("find", **flags, output=output))
    manifest = read_json(output / "_manifest.json")
    rejected = manifest["rows_rejected"]
    return Step(
        "find", seconds, manifest["pairs"], manifest["rows_in"], None, rejected, None, output
    )


def cluster(folder: Path) -> Step:
    """Similar pairs → clusters of questions."""
    output = folder / "clusters"
    rows = folder / "pairs/to-score/*.parquet"
    flags = {"input": folder / "similar", "rows": rows, "sentence_column": "sentence1"}
    flags |= {"min_similarity": CERTAIN}
    seconds = timed(command("cluster", **flags, output=output))
    manifest = read_json(output / "_manifest.json")
    return Step(
        "cluster", seconds, manifest["pairs_read"], manifest["rows_clustered"], output=output
    )


def show_clusters(output: Path, most: int = 3) -> None:
    """Prints some sentences of the largest clusters, and where the others can be seen."""
    found = [pq.read_table(path) for path in sorted(output.glob("*.parquet"))]
    rows = pa.concat_tables(found).to_pandas().dropna(subset=["sentence"])
    texts = rows.groupby("cluster_id")["sentence"].unique()
    largest = texts[texts.str.len() > 1].sort_values(key=lambda found: -found.str.len())
    for each in largest.head(most):
        print(f"one cluster, {len(each)} sentences: " + " / ".join(each[:3]))
    print(f"all clusters: {output / '_clusters.html'}")


def command(name: str, **flags: Any) -> list[str]:
    """The command line of a step."""
    return [sys.executable, "-m", f"pipelines.{name}"] + [
        word for flag, value in flags.items() for word in (f"--{flag}", str(value))
    ]


def timed(words: list[str]) -> float:
    """Runs a command as a user would, without the greeting; returns its seconds with start-up.

    Raises:
        SystemExit: with the command's exit code, where that is not 0.
    """
    print("\n$ " + shlex.join(["python", *words[1:]]), flush=True)
    started = time.monotonic()
    environment = {**os.environ, **QUIET}
    with subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr or ():
            if not GREETING.match(line):
                print(line, end="", file=sys.stderr, flush=True)
    if process.returncode:
        raise SystemExit(process.returncode)
    return time.monotonic() - started


def read_json(path: Path) -> dict[str, Any]:
    """A small JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def scored_accuracy(output: Path) -> float:
    """The share of scored pairs whose similarity label is the label they came with."""
    columns = ["label", "similarity_label"]
    scored = [pq.read_table(path, columns=columns) for path in sorted(output.glob("*.parquet"))]
    right = [pc.sum(pc.equal(*(table[name] for name in columns))).as_py() for table in scored]
    return sum(right) / sum(table.num_rows for table in scored)


def show(steps: list[Step]) -> None:
    """Prints the table, and where the files lie."""
    table = Table(caption="seconds include start-up; training counts a pair once an epoch")
    table.add_column("step", no_wrap=True)
    for name in ("rows in", "scored", "rejected", "accuracy", "seconds", "pairs/s"):
        table.add_column(name, justify="right", no_wrap=True)
    for step in steps:
        numbers = (step.rows_in, step.scored, step.rejected)
        table.add_row(
            step.name,
            *("" if number is None else f"{number:,}" for number in numbers),
            "" if step.accuracy is None else f"{step.accuracy:.3f}",
            f"{step.seconds:.1f}",
            f"{step.pairs / step.seconds:,.0f}" if step.pairs else "",
        )
    console = Console(highlight=False, soft_wrap=True)
    console.print()
    console.print(table)
    for step in steps:
        console.print(f"{step.name:15} {step.output}")
    console.print("Rejected rows are in _rejects/ beside the examples and the scores.")


if __name__ == "__main__":
    run()
