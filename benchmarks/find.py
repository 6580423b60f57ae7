"""Finding pairs, side by side: ours with all accounts, a loop over faiss, and NumPy's brute force.

python -m benchmarks.find --rows 100000 --dimensions 384 --distance cosine
python -m benchmarks.find --vectors vectors.npy --distance manhattan --min_similarity 0.5 --check

The way `peer` is sentence-transformers' paraphrase_mining_embeddings, in a Python of its own
(--peer_python). Vectors are given (--vectors FILE.npy) or made up around centres, so encoding is
left out on all sides. Ours is the real command: blocks, units, accounts, shards, the commit. The
ways take turns; what is printed are medians of CPU seconds and of seconds, and the peak memory of
a process that does nothing else. The last column is against the machine's own matrix product.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

DISTANCES = ("cosine", "euclidean", "manhattan")
WAYS = ("ours", "faiss", "product", "peer")
RANGE_AT_ONCE = 4_096


@dataclass(frozen=True)
class VectorBundle:
    """In place of a bundle: the sentence `17` has the 17th vector of a file."""

    bundle: str
    options: object = field(default=None)

    def verify(self) -> dict[str, object]:
        vectors = np.load(_path(self.bundle), mmap_mode="r")
        return {"fingerprint": self.bundle, "dimensions": vectors.shape[1], "threshold": 0.5}

    def comparison(self) -> tuple[str, bool]:
        return _distance(self.bundle), True

    def fields(self, manifest: dict[str, object]) -> tuple[pa.Field, ...]:
        return (pa.field("similarity", pa.float32()),)

    def load(self) -> VectorScorer:
        return VectorScorer(np.load(_path(self.bundle), mmap_mode="r"), _distance(self.bundle))


def _path(bundle: str) -> str:
    return bundle.partition("@")[0]


def _distance(bundle: str) -> str:
    return bundle.partition("@")[2]


class VectorScorer:
    """Looks vectors up, and compares them in NumPy."""

    fields = (pa.field("similarity", pa.float32()),)

    def __init__(self, vectors: np.ndarray, distance: str):
        self._vectors, self._distance = vectors, distance
        self.dimensions = vectors.shape[1]

    def encode(self, sentences: list[str]) -> np.ndarray:
        return np.asarray(self._vectors[np.array(sentences, np.int64)], np.float32)

    def compare(self, vectors: np.ndarray, first: np.ndarray, second: np.ndarray) -> list[pa.Array]:
        return [pa.array(similarity(vectors[first], vectors[second], self._distance))]


def similarity(u: np.ndarray, v: np.ndarray, distance: str) -> np.ndarray:
    """Rows of [n, d] and [n, d] → float32 [n]; exp(−distance), or the cosine."""
    if distance == "manhattan":
        return np.exp(-np.abs(u - v).sum(-1)).astype(np.float32)
    if distance == "euclidean":
        return np.exp(-np.sqrt(((u - v) ** 2).sum(-1))).astype(np.float32)
    lengths = np.sqrt((u**2).sum(-1) * (v**2).sum(-1))
    return (np.einsum("nd,nd->n", u, v) / np.maximum(lengths, 1e-12)).astype(np.float32)


def made_up(rows: int, dimensions: int, seed: int = 1, latent: int | None = None) -> np.ndarray:
    """Vectors around a centre for every eight of them: most are far from all but a few.

    `latent`: centres have so many dimensions of their own, turned into all, as those of texts do;
    without it every dimension is independent, where no cell can be better than another.
    """
    random = np.random.default_rng(seed)
    centres = random.normal(size=(max(1, rows // 8), latent or dimensions)).astype(np.float32)
    if latent:
        turn = np.random.default_rng(0).normal(size=(latent, dimensions)) / latent**0.5
        centres = centres @ turn.astype(np.float32)
    vectors = centres[random.integers(len(centres), size=rows)]
    for start in range(0, rows, 100_000):
        part = vectors[start : start + 100_000]
        part += random.normal(size=part.shape).astype(np.float32) * np.float32(0.4)
    return vectors


def ours(vectors: str, distance: str, least: float, more: list[str]) -> dict[str, float]:
    """The command, in this process."""
    from pipelines import find

    find.BundleScorer = VectorBundle  # type: ignore[misc,assignment]
    count = len(np.load(vectors, mmap_mode="r"))
    with tempfile.TemporaryDirectory(prefix="twinbeam-bench-") as folder:
        numbers = np.arange(count)
        texts = pa.array(numbers).cast(pa.string())
        pq.write_table(pa.table({"id": numbers, "sentence": texts}), f"{folder}/in.parquet")
        words = ["--input", f"{folder}/in.parquet", "--output", f"{folder}/out", *more]
        words += ["--model", f"{vectors}@{distance}", "--min_similarity", str(least)]
        manifest = find.run(words)
    kept = ("pairs_found", "pairs_compared", "pairs_excluded", "recall")
    return {key: manifest[key] for key in kept if key in manifest}


def faiss_loop(vectors: str, distance: str, least: float) -> dict[str, float]:
    """What one writes by hand: range search of all, part by part, each pair kept once."""
    import faiss

    found, count = np.load(vectors), 0
    if distance == "cosine":
        found = found / np.linalg.norm(found, axis=1, keepdims=True)
        index, radius = faiss.IndexFlatIP(found.shape[1]), least
    elif distance == "euclidean":
        index, radius = faiss.IndexFlatL2(found.shape[1]), math.log(least) ** 2
    else:
        index = faiss.IndexFlat(found.shape[1], faiss.METRIC_L1)
        radius = -math.log(least)
    index.add(found)
    for start in range(0, len(found), RANGE_AT_ONCE):
        limits, _, others = index.range_search(found[start : start + RANGE_AT_ONCE], radius)
        rows = np.repeat(np.arange(len(limits) - 1), np.diff(limits.astype(np.int64))) + start
        count += int((others > rows).sum())
    return {"pairs_found": count}


def product(vectors: str, distance: str, least: float) -> dict[str, float]:
    """The matrix products of all pairs and nothing else: half of n² · 2 d operations."""
    found = np.load(vectors)
    tile = np.empty((4_096, 4_096), np.float32)
    for start in range(0, len(found), 4_096):
        for other in range(start, len(found), 4_096):
            one, two = found[start : start + 4_096], found[other : other + 4_096]
            np.matmul(one, two.T, out=tile[: len(one), : len(two)])
    return {}


PEER = """
import json, sys, time, resource
import numpy as np, torch
from sentence_transformers.util import paraphrase_mining_embeddings
path, least = sys.argv[1], float(sys.argv[2])
vectors = torch.from_numpy(np.load(path))
started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
found = paraphrase_mining_embeddings(vectors, max_pairs=20_000_000, top_k=100)
count = sum(score >= least for score, _, _ in found)
after = resource.getrusage(resource.RUSAGE_SELF)
cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
print(json.dumps({"seconds": time.monotonic() - started, "cpu": cpu,
                  "peak_mb": after.ru_maxrss / 1024, "pairs_found": count}))
"""


def brute_force(vectors: np.ndarray, distance: str, least: float) -> set[tuple[int, int]]:
    """All pairs, row by row, in NumPy alone."""
    pairs: set[tuple[int, int]] = set()
    for row in range(len(vectors) - 1):
        others = vectors[row + 1 :]
        same = np.broadcast_to(vectors[row], others.shape)
        near = np.flatnonzero(similarity(same, others, distance) >= np.float32(least))
        pairs.update((row, row + 1 + int(place)) for place in near)
    return pairs


def measure(way: str, args: argparse.Namespace, vectors: str) -> dict[str, float]:
    """A way in a process of its own: CPU seconds, seconds, peak memory and what it found."""
    if way == "peer":
        words = [args.peer_python, "-c", PEER, vectors, str(args.min_similarity)]
        done = subprocess.run(words, check=True, capture_output=True, text=True)
        return json.loads(done.stdout.splitlines()[-1])
    words = [sys.executable, "-m", "benchmarks.find", "--only", way, "--vectors", vectors]
    words += ["--distance", args.distance, "--min_similarity", str(args.min_similarity)]
    done = subprocess.run([*words, "--", *args.flags], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def run_one(args: argparse.Namespace) -> None:
    """Does one way and prints what it took, in one line of JSON."""
    ways = {"faiss": faiss_loop, "product": product}
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
    if args.only == "ours":
        found = ours(args.vectors, args.distance, args.min_similarity, args.flags)
    else:
        found = ways[args.only](args.vectors, args.distance, args.min_similarity)
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    measured = {
        "seconds": time.monotonic() - started,
        "cpu": cpu,
        "peak_mb": after.ru_maxrss / 1024,
    }
    print(json.dumps(measured | found))


def check(args: argparse.Namespace, vectors: str) -> None:
    """Holds what ours finds against brute force in NumPy."""
    from pipelines import find

    find.BundleScorer = VectorBundle  # type: ignore[misc,assignment]
    loaded = np.load(vectors)
    expected = brute_force(loaded, args.distance, args.min_similarity)
    with tempfile.TemporaryDirectory(prefix="twinbeam-bench-") as folder:
        numbers = np.arange(len(loaded))
        texts = pa.array(numbers).cast(pa.string())
        pq.write_table(pa.table({"id": numbers, "sentence": texts}), f"{folder}/in.parquet")
        words = ["--input", f"{folder}/in.parquet", "--output", f"{folder}/out", *args.flags]
        words += ["--model", f"{vectors}@{args.distance}"]
        find.run([*words, "--min_similarity", str(args.min_similarity)])
        found = pa.concat_tables([pq.read_table(p) for p in Path(folder, "out").glob("*.parquet")])
    pairs = set(zip(found["id1"].to_pylist(), found["id2"].to_pylist(), strict=True))
    print(f"brute force: {len(expected):,} pairs; {len(expected - pairs)} missing, "
          f"{len(pairs - expected)} more")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--vectors", metavar="NPY")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dimensions", type=int, default=384)
    parser.add_argument("--latent", type=int, help="dimensions that centres really have")
    parser.add_argument(
        "--distance", choices=("cosine", "euclidean", "manhattan"), default="cosine"
    )
    parser.add_argument("--min_similarity", type=float, default=0.8)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS[:3]))
    parser.add_argument("--peer_python", help="a Python that has sentence-transformers")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--check", action="store_true", help="hold ours against brute force")
    parser.add_argument("--only", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("flags", nargs="*", help="flags of find, after --")
    args = parser.parse_args()
    if args.only:
        return run_one(args)
    with tempfile.TemporaryDirectory(prefix="twinbeam-bench-") as folder:
        vectors = args.vectors or f"{folder}/vectors.npy"
        if not args.vectors:
            np.save(vectors, made_up(args.rows, args.dimensions, latent=args.latent))
        if args.check:
            return check(args, vectors)
        turns = [{way: measure(way, args, vectors) for way in args.ways} for _ in range(args.turns)]
        show(args, vectors, turns)


def show(args: argparse.Namespace, vectors: str, turns: list[dict[str, dict]]) -> None:
    """A line for each way: medians."""
    shape = np.load(vectors, mmap_mode="r").shape
    print(f"{shape[0]:,} x {shape[1]} floats, {args.distance} >= {args.min_similarity}, "
          f"{len(turns)} turns {' '.join(args.flags)}\n")  # fmt: skip
    print("| way | pairs | CPU s | s | peak MB | CPU of the product | CPU of ours |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for way in args.ways:
        cpu, seconds, peak = (
            statistics.median(turn[way][name] for turn in turns)
            for name in ("cpu", "seconds", "peak_mb")
        )
        shares = [
            statistics.median(turn[other]["cpu"] / turn[way]["cpu"] for turn in turns)
            if other in args.ways else math.nan
            for other in ("product", "ours")
        ]  # fmt: skip
        pairs = turns[0][way].get("pairs_found", "")
        print(f"| {way} | {pairs} | {cpu:.1f} | {seconds:.1f} | {peak:.0f} | {shares[0]:.2f} | "
              f"{shares[1]:.2f} |", flush=True)  # fmt: skip
    for name in ("pairs_compared", "pairs_excluded", "recall"):
        if name in turns[0].get("ours", {}):
            print(f"{name}: {turns[0]['ours'][name]}")


if __name__ == "__main__":
    main()
