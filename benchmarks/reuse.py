"""What encoding each distinct sentence once gives a heavy encoder, against its speed without it.

python -m benchmarks.reuse --model MINILM_BUNDLE --file ../shared/data/tonghuashun.parquet
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from model.scoring.bundle_scorer import BundleScorer, LoadedScorer
from transforms.accounts.claims import Claim
from transforms.input.shards import plan_shards
from transforms.pairs import PairColumns
from transforms.scoring.score_shards import ScoreSettings, score_shard

SAMPLE = 1_000  # pairs to encode without reuse, spread evenly over the file


def without_reuse(scorer: LoadedScorer, table: pa.Table) -> float:
    """Pairs a second where both sentences of every pair are encoded."""
    rows = np.linspace(0, table.num_rows - 1, SAMPLE).astype(np.int64)
    part = table.take(pa.array(rows))
    sentences = [text for name in ("sentence1", "sentence2") for text in part[name].to_pylist()]
    started = time.perf_counter()
    scorer.encode(sentences)
    return SAMPLE / (time.perf_counter() - started)


def with_reuse(scorer: LoadedScorer, path: str) -> float:
    """Pairs a second of scoring the whole file, reading and writing included."""
    rows = 0
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="twinbeam-bench-") as output:
        for shard in plan_shards([path], PairColumns(), shard_rows=131_072):
            rows += score_shard(shard, scorer, ScoreSettings(Claim(output), "bench")).rows_in
    return rows / (time.perf_counter() - started)


def compare(model: str, path: str, runs: int = 3) -> str:
    """A Markdown line: the speed without reuse before and after each run with it, by medians."""
    table = pq.read_table(path, columns=["sentence1", "sentence2"])
    slow, fast = [], []
    for _ in range(runs):
        scorer = BundleScorer(model).load()  # with an empty cache
        slow.append(without_reuse(scorer, table))
        fast.append(with_reuse(scorer, path))
    without, reusing = statistics.median(slow), statistics.median(fast)
    distinct = len(pa.concat_arrays([c.combine_chunks() for c in table.columns]).unique())
    uses = 2 * table.num_rows / distinct
    return (
        f"{table.num_rows:,} pairs, {uses:.1f} uses of a sentence; without reuse {without:,.0f} "
        f"pairs/s ({SAMPLE:,} pairs, spread evenly), ours {reusing:,.0f} pairs/s: "
        f"{reusing / without:.1f} ×\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True, help="a bundle of bert-mean-cosine")
    parser.add_argument("--file", required=True, metavar="PARQUET")
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    print(compare(args.model, args.file, args.runs))


if __name__ == "__main__":
    main()
