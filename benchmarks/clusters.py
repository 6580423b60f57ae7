"""Clusters of many edges, held against SciPy's connected components.

python -m benchmarks.clusters --edges 10000000
python -m benchmarks.clusters --edges 100000000 --no_check

Edges are made up: most join neighbours in small groups, some are chains and some are stars, which
is what rounds of stars find hard. What is printed is what the command took, the peak memory of its
process, and whether the clusters are SciPy's.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

AT_ONCE = 1_000_000
GROUP, CHAIN = 12, 1_000


def made_up(first: int, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Edges number `first` to `first + count`: groups, with a chain and a star in every ten."""
    random = np.random.default_rng([seed, first])
    numbers = np.arange(first, first + count)
    base = numbers // 10 * 10
    one = base + random.integers(GROUP, size=count)
    two = base + random.integers(GROUP, size=count)
    chain, star = numbers % 50 == 0, numbers % 50 == 1
    one[chain], two[chain] = numbers[chain], numbers[chain] + 50
    ends = (numbers[chain] // 50) % CHAIN == CHAIN - 1  # or all would be one
    two[np.flatnonzero(chain)[ends]] = numbers[chain][ends]
    one[star], two[star] = numbers[star], numbers[star] // 100_000 * 100_000
    return one, two


def write_edges(folder: Path, edges: int, seed: int) -> None:
    """Pairs as `find` writes them, in files of a million."""
    for start in range(0, edges, AT_ONCE):
        one, two = made_up(start, min(AT_ONCE, edges - start), seed)
        kept = one != two
        pairs = {"id1": np.minimum(one, two)[kept], "id2": np.maximum(one, two)[kept]}
        table = pa.table(pairs | {"similarity": np.full(int(kept.sum()), 0.9, np.float32)})
        pq.write_table(table, folder / f"pairs-{start // AT_ONCE:05d}.parquet")


def components(folder: Path) -> dict[int, int]:
    """Node → least node of its component, by SciPy."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    pairs = pq.read_table(folder, columns=["id1", "id2"])
    one, two = (pairs[name].to_numpy() for name in ("id1", "id2"))
    nodes, places = np.unique(np.concatenate([one, two]), return_inverse=True)
    rows, columns = places[: len(one)], places[len(one) :]
    graph = coo_matrix((np.ones(len(one), np.int8), (rows, columns)), (len(nodes), len(nodes)))
    _, labels = connected_components(graph, directed=False)
    least = np.full(labels.max() + 1, np.iinfo(np.int64).max)
    np.minimum.at(least, labels, nodes)
    return dict(zip(nodes.tolist(), least[labels].tolist(), strict=True))


def run_one(flags: list[str]) -> None:
    """The command, and what it took, in one line of JSON."""
    from pipelines import cluster

    started = time.monotonic()
    manifest = cluster.run(flags)
    use = resource.getrusage(resource.RUSAGE_SELF)
    took = {"seconds": time.monotonic() - started, "cpu": use.ru_utime + use.ru_stime}
    took |= {"peak_mb": use.ru_maxrss / 1024, "clusters": manifest["clusters"]}
    print(json.dumps(took))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--edges", type=int, default=10_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no_check", action="store_true", help="do not load all edges into SciPy")
    parser.add_argument("--only", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("flags", nargs="*", help="flags of cluster, after --")
    args = parser.parse_args()
    if args.only:
        return run_one(args.flags)
    with tempfile.TemporaryDirectory(prefix="twinbeam-bench-") as name:
        folder = Path(name)
        (folder / "in").mkdir()
        write_edges(folder / "in", args.edges, args.seed)
        words = ["--input", f"{folder}/in/*.parquet", "--output", f"{folder}/out"]
        words += ["--min_similarity", "0.5", *args.flags]
        command = [sys.executable, "-m", "benchmarks.clusters", "--only", "--", *words]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        took = json.loads(done.stdout.splitlines()[-1])
        print(f"{args.edges:,} edges: {took['clusters']:,} clusters, {took['seconds']:.0f} s, "
              f"{took['cpu']:.0f} CPU s, peak {took['peak_mb']:,.0f} MB", flush=True)  # fmt: skip
        if not args.no_check:
            found = pq.read_table(folder / "out", columns=["id", "cluster_id"])
            ours = dict(zip(found["id"].to_pylist(), found["cluster_id"].to_pylist(), strict=True))
            print(
                "SciPy's components: " + ("equal" if ours == components(folder / "in") else "NOT")
            )


if __name__ == "__main__":
    main()
