"""The inner loop of an exact search on two blocks, beside the matrix product of the same.

python -m benchmarks.find_tiles --dimensions 384 --distance cosine

An exact search is this loop over all pairs of blocks, so its rate says what any number of
sentences costs. Both take turns in one process; what is printed are medians.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass

import numpy as np

from benchmarks.find import DISTANCES, VectorScorer, made_up
from transforms.finding.block_worker import one_core_a_strip
from transforms.vector_blocks.units import BLOCK_ROWS
from transforms.vectors.near import near_pairs
from transforms.vectors.reach import reach_of

SIDE = 4_096


@dataclass(frozen=True)
class Took:
    """Seconds and CPU seconds."""

    seconds: float
    cpu: float

    @classmethod
    def since(cls, started: float, cpu: float) -> Took:
        """From then to now."""
        return cls(time.monotonic() - started, time.process_time() - cpu)


def product(u: np.ndarray, v: np.ndarray) -> Took:
    """The matrix product alone, with all threads of its library."""
    before = time.monotonic(), time.process_time()
    for start in range(0, len(u), SIDE):
        for other in range(0, len(v), SIDE):
            u[start : start + SIDE] @ v[other : other + SIDE].T
    return Took.since(*before)


def tiles(u: np.ndarray, v: np.ndarray, distance: str, least: float) -> Took:
    """What a worker does with two blocks, but for the few pairs that it finds."""
    from threadpoolctl import threadpool_limits

    reach = reach_of(VectorScorer(u, distance), distance, least)  # type: ignore[arg-type]
    with threadpool_limits(None):  # takes the limit of the next line away again
        threads = one_core_a_strip()
        before = time.monotonic(), time.process_time()
        for _ in near_pairs(u, v, reach, threads=threads):
            pass
        return Took.since(*before)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dimensions", type=int, default=384)
    parser.add_argument("--distance", choices=DISTANCES, default="cosine")
    parser.add_argument("--min_similarity", type=float, default=0.8)
    parser.add_argument("--turns", type=int, default=5)
    args = parser.parse_args()
    vectors = made_up(2 * BLOCK_ROWS, args.dimensions)
    u, v = vectors[:BLOCK_ROWS], vectors[BLOCK_ROWS:]
    turns = []
    for _ in range(args.turns + 1):
        alone = product(u, v)
        turns.append((alone, tiles(u, v, args.distance, args.min_similarity)))
    turns = turns[1:]  # the first one compiles
    show(len(u) * len(v), turns, f"{args.dimensions} floats, {args.distance}")


def show(pairs: int, turns: list[tuple[Took, Took]], what: str) -> None:
    """Pairs a second, a core and altogether, and the share of the product's rate."""
    for name, side in (("matrix product", 0), ("search", 1)):
        seconds, cpu = (
            statistics.median(getattr(turn[side], part) for turn in turns)
            for part in ("seconds", "cpu")
        )
        rates = pairs / seconds / 1e6, pairs / cpu / 1e6
        print(f"{what}: {name} {rates[0]:.0f} million pairs/s, {rates[1]:.0f} a core second")
    shares = [
        statistics.median(getattr(one, part) / getattr(two, part) for one, two in turns)
        for part in ("seconds", "cpu")
    ]
    print(f"{what}: {shares[0]:.2f} of the product's rate, {shares[1]:.2f} by CPU seconds")


if __name__ == "__main__":
    main()
