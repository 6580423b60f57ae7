"""What the launcher and the last step do with very many shards, without any worker.

    python -m benchmarks.shards [--shards 200000] [--only score]

For each command: the plan, from real footers of real files of one row; the graph as it would be
sent to a runner; looks at the progress; the commit of as many accounts, which each stand for a
shard of 131,072 rows. Seconds by the clock, seconds of CPU, and by how much the process grew.
"""

from __future__ import annotations

import argparse
import os
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import shard_graphs
from transforms.accounts import blocks, output_folder
from transforms.accounts.claims import Claim
from transforms.accounts.gates import Gates
from transforms.accounts.shard_account import ShardAccount, WrittenFile, write_account
from transforms.accounts.staging import stage
from transforms.input.shards import Shard, plan
from transforms.pairs import PairColumns
from transforms.storage import files
from transforms.threads import in_threads

LINKS = 30_000  # names of one file; file systems allow some 60,000
ROWS = 131_072  # of a shard, as the accounts say
KEY = "0" * 32


def make_files(folder: str, count: int) -> None:
    """Writes so many files of one scored, labelled pair; most are further names of a few."""
    table = pa.table(
        {
            "sentence1": ["how do I pay"],
            "sentence2": ["how can I pay"],
            "label": [1],
            "similarity": pa.array([0.9], pa.float32()),
            "similarity_label": [1],
        }
    )
    for number in range(count):
        path = f"{folder}/part-{number:07d}.parquet"
        if number % LINKS == 0:
            first = path
            pq.write_table(table, path)
        else:
            os.link(first, path)


def measured(command: str, step: str, work: Callable[[], Any]) -> Any:
    """Does a step, and prints its line of the table."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, wall, cpu = _memory("VmRSS"), time.perf_counter(), time.process_time()
    found = work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    graph = f"{found:,}" if step.startswith("graph") else ""
    grown = (_memory("VmHWM") - before) / 1024
    print(f"| {command} | {step} | {wall:.1f} | {cpu:.1f} | {grown:,.0f} | {graph} |", flush=True)
    return found


def _memory(name: str) -> int:
    return int(re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())[1])


def account(shard: Shard) -> ShardAccount:
    """As scoring leaves it."""
    written = (WrittenFile(shard.name, ROWS, KEY + KEY, shard.source),)
    counts = {"sentences": 2 * ROWS, "sentences_encoded": ROWS}
    profile = {"lengths": [9] * 20, "similarity": [9] * 20}
    content = shard.to_json() | {"rows": ROWS}
    return ShardAccount(content, KEY, ROWS, ROWS, 0, {}, counts, written, 1.0, 2.0, profile)


def bench_score(shards: Sequence[Shard], folder: str) -> None:
    """The steps of `score` after the plan; its accounts lie on this disk."""
    from pipelines.running.progress import Done
    from pipelines.scoring.commit_scores import Commit

    output = f"{folder}/scores"
    measured("score", "graph", lambda: shard_graphs.score_graph(shards, f"{folder}/graph"))
    work = output_folder.begin(output, shards, KEY)
    for _ in in_threads(lambda shard: write_account(Claim(output), account(shard)), shards, 2):
        pass
    done = Done(output, {shard.name: ROWS for shard in shards})
    measured("score", "progress, all new", done.look)
    measured("score", "progress, none new", done.look)
    names = [shard.name for shard in shards]
    planned = blocks.AccountBlocks.plan(work.claim, names)
    parts: list[blocks.AccountBlock] = []  # what workers do, each with a block in its memory
    for first in range(0, len(names), blocks.BLOCK_SHARDS):
        accounts = [(True, account(shard)) for shard in shards[first : first + blocks.BLOCK_SHARDS]]
        parts.append(planned.add_up(first // blocks.BLOCK_SHARDS + 1, accounts))
    commit = Commit(work.claim, len(names), (), {}, Gates(1.0), time.time())
    measured("score", "commit", lambda: commit(None, parts, []))
    measured(
        "score",
        "look at what is there, before a second run",
        lambda: output_folder.open_output(output, shards, KEY, overwrite=False),
    )


def bench_evaluate(shards: Sequence[Shard], folder: str) -> None:
    """The steps of `evaluate` after the plan; it has no accounts, so nothing to look at."""
    from pipelines import evaluate
    from pipelines.options.evaluate_options import parse
    from transforms.evaluation.evaluate_shards import EvaluationSettings, add_up, evaluate_batch

    options = parse(["--input", "in", "--output", f"{folder}/report", "--resamples", "20"])
    measured("evaluate", "graph", lambda: shard_graphs.evaluate_graph(shards, f"{folder}/other"))
    rng = np.random.default_rng(1)
    label = rng.integers(2, size=1_000)
    similarity = rng.beta(2 + label, 3 - label).astype(np.float32)
    sides = {f"sentence{k}": [f"pay bill {n}" for n in range(1_000)] for k in (1, 2)}
    table = pa.table({**sides, "label": label, "similarity": similarity, "similarity_label": label})
    settings = EvaluationSettings(options.columns)
    counted = evaluate_batch(table.to_batches()[0], settings)
    parts = (counted for _ in range(max(1, len(shards) // 100)))  # workers have added up a hundred
    staging = stage(options.output, overwrite=False)
    write = evaluate.WriteEvaluation(options, staging, time.time(), {})
    measured("evaluate", "commit", lambda: write(add_up(parts, keep=settings.worst)))


def bench_preprocess(shards: Sequence[Shard], folder: str) -> None:
    """The steps of `preprocess` after the plan."""
    from pipelines.options.preprocess_options import parse
    from transforms.examples.counts import add_up
    from transforms.examples.folder import CommitExamples
    from transforms.examples.read_pairs import TRANSFORMED
    from transforms.examples.records import file_name
    from transforms.examples.shard_marks import count_done, mark_done

    output = f"{folder}/examples"
    options = parse(["--input", "in", "--recipe", "char-bilstm-manhattan", "--output", output])
    measured("preprocess", "graph", lambda: shard_graphs.preprocess_graph(shards, output))
    staging = stage(output, overwrite=False)
    for _ in in_threads(
        lambda shard: mark_done(staging.folder, TRANSFORMED, shard.name), shards, 2
    ):
        pass
    measured("preprocess", "progress", lambda: count_done(staging.folder, TRANSFORMED))
    rows = ROWS * len(shards)
    count = options.file_counts(rows)
    written = [
        WrittenFile(file_name(part, number, count[part]), rows // 2 // count[part], KEY + KEY, "")
        for part in count
        for number in range(count[part])
    ]
    each = {
        part: sum(file.rows for file in written if file.name.startswith(part)) for part in count
    }
    total = Counter({("rows_in",): sum(each.values())})
    total += Counter({("rows", part): n for part, n in each.items()})
    parts = [total, *(Counter({("length", n): 9 for n in range(100)}) for _ in range(2_000))]
    for file in written:
        files.write_bytes(f"{staging.folder}/{file.name}", b"")
    read = sum(each.values())
    commit = CommitExamples(staging, staging.folder, read, "", {}, 1.0, time.time())
    measured("preprocess", "commit", lambda: commit(None, None, written, add_up(parts)))


def bench_plan(shards: Sequence[Shard], folder: str) -> None:
    """The plan of as many files; it is the same for all three commands."""
    os.mkdir(f"{folder}/in")
    make_files(f"{folder}/in", len(shards))
    columns = PairColumns(label="label")
    found = measured("all", "plan", lambda: plan([f"{folder}/in"], columns, shard_rows=ROWS))
    assert len(found.shards) == len(shards)


COMMANDS = {
    "plan": bench_plan,
    "score": bench_score,
    "evaluate": bench_evaluate,
    "preprocess": bench_preprocess,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shards", type=int, default=200_000)
    parser.add_argument("--only", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    args = parser.parse_args()
    print("| command | step | s | CPU s | grew by MB | bytes |")
    print("| --- | --- | --- | --- | --- | --- |")
    shards = shard_graphs.made_up(args.shards)
    for name in args.only:
        with tempfile.TemporaryDirectory(prefix="twinbeam-bench-") as folder:
            COMMANDS[name](shards, folder)


if __name__ == "__main__":
    main()
