"""What it takes to choose the cells of a measured search, and the cells that a block visits.

python -m benchmarks.find_cells --cells 3515

3,515 cells are those of 1.8 million sentences, which are 55 blocks. Beside it stands the matrix
product of a block with as many centroids of all dimensions, and nothing else.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.find import DISTANCES, made_up
from transforms.vector_blocks.make_cells import SAMPLE_OF_A_VISITED_CELL
from transforms.vector_blocks.units import BLOCK_ROWS
from transforms.vectors.visits import choose_visited


def cpu_of(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of all threads, and what came of it."""
    started = time.process_time()
    found = work()
    return time.process_time() - started, found


def product(block: np.ndarray, centroids: np.ndarray) -> None:
    """The products, a tile after the other."""
    with threadpool_limits(1, user_api="blas"):
        for start in range(0, len(block), 512):
            block[start : start + 512] @ centroids.T


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cells", type=int, default=3_515)
    parser.add_argument("--dimensions", type=int, default=384)
    parser.add_argument("--latent", type=int, default=48, help="dimensions centres really have")
    parser.add_argument("--distance", choices=DISTANCES, default="cosine")
    parser.add_argument("--turns", type=int, default=3)
    args = parser.parse_args()
    sample = SAMPLE_OF_A_VISITED_CELL * args.cells
    vectors = made_up(sample + BLOCK_ROWS, args.dimensions, latent=args.latent)
    block, blocks = vectors[sample:], -(-args.cells * 512 // BLOCK_ROWS)
    choosing, cells = cpu_of(
        lambda: choose_visited(vectors[:sample], args.cells, blocks, args.distance)
    )
    cells.nearest(block[:512])  # compiles
    turns = [
        (cpu_of(lambda: cells.nearest(block))[0],
         cpu_of(lambda: product(block, vectors[: args.cells]))[0])
        for _ in range(args.turns)
    ]  # fmt: skip
    assigning, alone = (statistics.median(side) for side in zip(*turns, strict=True))
    print(f"{args.cells:,} cells from {sample:,} vectors of {args.dimensions} floats: "
          f"{choosing:.1f} CPU s\na block of {len(block):,} to its {cells.most_visits} nearest: "
          f"{assigning:.2f} CPU s; the product of all dimensions alone: {alone:.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
