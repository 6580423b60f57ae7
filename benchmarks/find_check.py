"""What `find` writes with a real bundle, held against brute force in NumPy.

python -m benchmarks.find_check --model BUNDLE --sentences 'pairs/*.parquet' --rows 100000

Takes the distinct sentences of files of pairs, runs the command on them, and computes the
similarity of all n (n − 1) / 2 pairs in NumPy, tile by tile, from the vectors that the bundle gives
each sentence. Candidates are what a float32 tile says is near, with far more room than its rounding
needs (a sum of absolute differences may end early: it only grows); the similarity of each candidate
is then computed in float64.

A pair belongs to the set where `score` would give it at least the least similarity: the bundle's
own float32 comparison decides, as it does in `find`. The last line says how many pairs float64
would have decided otherwise, and how far the two similarities are apart at most.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from model.scoring.bundle_scorer import LoadedScorer

TILE, SUMS = 1_024, 512  # rows of a tile of products, and of sums
FEW = 0.005  # of a tile's pairs, which are then summed up one by one
ROOM = 1e-4  # a product of unit vectors of 512 floats rounds by less than 1e-6
AT_ONCE = 1 << 18


def distinct_sentences(patterns: list[str], rows: int | None) -> list[str]:
    """The distinct sentences of files of pairs in order; so many of them, evenly chosen."""
    found: set[str] = set()
    for path in (path for pattern in patterns for path in sorted(Path().glob(pattern))):
        for column in ("sentence1", "sentence2"):
            found.update(pd.read_parquet(path, columns=[column])[column].dropna())
    texts = sorted(text for text in found if text.strip())
    if rows is None or rows >= len(texts):
        return texts
    return [texts[int(place)] for place in np.linspace(0, len(texts) - 1, rows)]


@dataclass(frozen=True)
class BruteForce:
    """All pairs of vectors, by NumPy alone.

    Attributes:
        vectors: float32 [n, d].
        distance: `cosine` or `manhattan`.
        least: the least similarity, cosine or exp(−distance).
    """

    vectors: np.ndarray
    distance: str
    least: float

    def candidates(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Pairs of rows that may be similar enough, each once."""
        if self.distance == "manhattan":
            spread = np.argsort(-self.vectors.std(axis=0), kind="stable")
            columns = np.ascontiguousarray(self.vectors.T[spread])
            near, side = partial(_near_sums, columns, -math.log(self.least) + ROOM), SUMS
        else:
            wide = self.vectors.astype(np.float64)
            lengths = np.sqrt((wide * wide).sum(axis=1, keepdims=True))
            unit = (wide / np.where(lengths > 0, lengths, 1)).astype(np.float32)
            near, side = partial(_near_products, unit, self.least - ROOM), TILE
        starts = range(0, len(self.vectors), side)
        with ThreadPoolExecutor() as pool:
            for start in starts:
                for first, second in pool.map(partial(near, side, start), starts[start // side :]):
                    yield first[first < second], second[first < second]

    def similarities(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Of pairs of rows [k], in float64."""
        parts = [np.zeros(0)]
        for start in range(0, len(first), AT_ONCE):
            rows = first[start : start + AT_ONCE], second[start : start + AT_ONCE]
            u, v = (self.vectors[side].astype(np.float64) for side in rows)
            if self.distance == "manhattan":
                parts.append(np.exp(-np.abs(u - v).sum(axis=1)))
            else:
                lengths = np.sqrt((u * u).sum(axis=1) * (v * v).sum(axis=1))
                parts.append((u * v).sum(axis=1) / np.where(lengths > 0, lengths, 1))
        return np.concatenate(parts)


def _near_products(
    unit: np.ndarray, least: float, side: int, start: int, other: int
) -> tuple[np.ndarray, np.ndarray]:
    tile = unit[start : start + side] @ unit[other : other + side].T
    first, second = np.nonzero(tile >= np.float32(least))
    return first + start, second + other


def _near_sums(
    columns: np.ndarray, most: float, side: int, start: int, other: int
) -> tuple[np.ndarray, np.ndarray]:
    """A sum of some of the differences is never greater than that of all: most pairs end there."""
    one, two = columns[:, start : start + side, None], columns[:, None, other : other + side]
    sums = np.abs(one[0] - two[0])
    apart = np.empty_like(sums)
    for place in range(1, len(columns)):
        np.abs(np.subtract(one[place], two[place], out=apart), out=apart)
        sums += apart
        if place % 8 == 7 and np.count_nonzero(sums <= np.float32(most)) < FEW * sums.size:
            break
    first, second = np.nonzero(sums <= np.float32(most))
    return first + start, second + other


@dataclass
class Expected:
    """The pairs by brute force: numbers i · n + j of those that belong to the set.

    Attributes:
        pairs: of each the number, in order of finding.
        candidates: how many pairs were compared in float64.
        otherwise: how many float64 decides otherwise than the bundle's float32.
        apart: the greatest difference of both similarities.
    """

    pairs: list[np.ndarray]
    candidates: int = 0
    otherwise: int = 0
    apart: float = 0.0

    @classmethod
    def by_brute_force(cls, search: BruteForce, scorer: LoadedScorer) -> Expected:
        """All of them; `scorer` is a bundle that was opened."""
        found, count = cls([]), len(search.vectors)
        for first, second in search.candidates():
            found.candidates += len(first)
            exact = search.similarities(first, second)
            near = exact >= search.least - ROOM
            first, second, exact = first[near], second[near], exact[near]
            if len(first):
                own = scorer.compare(search.vectors, first, second)[0]
                own = own.to_numpy(zero_copy_only=False)
                belongs = own >= np.float32(search.least)
                found.otherwise += int((belongs != (exact >= search.least)).sum())
                found.apart = max(found.apart, float(np.abs(own - exact).max()))
                found.pairs.append(first[belongs].astype(np.int64) * count + second[belongs])
        return found


def find_pairs(args: argparse.Namespace, texts: list[str], least: float, folder: str) -> np.ndarray:
    """What the command writes, as numbers i · n + j."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    rows = Path(folder, "in.parquet")
    if not rows.exists():  # a file that was written again is another input
        pq.write_table(pa.table({"id": range(len(texts)), "sentence": texts}), rows)
    words = [sys.executable, "-m", "pipelines.find", "--input", str(rows)]
    words += ["--model", args.model, "--min_similarity", repr(least)]
    subprocess.run([*words, "--output", f"{folder}/out", *args.flags], check=True)
    found = pq.read_table(f"{folder}/out", columns=["id1", "id2"])
    one, two = (found[name].to_numpy() for name in ("id1", "id2"))
    return one * len(texts) + two


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--sentences", nargs="+", required=True, help="files of pairs")
    parser.add_argument("--rows", type=int, help="so many of the distinct sentences")
    parser.add_argument("--min_similarity", type=float, help="default: the bundle's threshold")
    parser.add_argument("--output", help="where pairs are kept; a second run takes up the search")
    parser.add_argument("flags", nargs="*", help="flags of find, after --")
    args = parser.parse_args()
    from model.scoring.bundle_scorer import BundleScorer

    handler = BundleScorer(args.model)
    least = args.min_similarity or float(handler.verify()["threshold"])
    texts = distinct_sentences(args.sentences, args.rows)
    with tempfile.TemporaryDirectory(prefix="twinbeam-bench-") as folder:
        written = find_pairs(args, texts, least, args.output or folder)
    started, scorer = time.monotonic(), handler.load()
    search = BruteForce(scorer.encode(texts), handler.comparison()[0], least)
    expected = Expected.by_brute_force(search, scorer)
    pairs = np.concatenate([np.zeros(0, np.int64), *expected.pairs])
    show(texts, written, pairs, expected, time.monotonic() - started)


def show(
    texts: list[str], written: np.ndarray, pairs: np.ndarray, expected: Expected, seconds: float
) -> None:
    """How both sets differ."""
    twice = len(written) - len(np.unique(written))
    missing, more = np.setdiff1d(pairs, written), np.setdiff1d(written, pairs)
    print(f"{len(texts):,} sentences, {len(texts) * (len(texts) - 1) // 2:,} pairs; brute force: "
          f"{expected.candidates:,} candidates, {len(pairs):,} similar, in {seconds:.0f} s\n"
          f"find wrote {len(written):,}: {len(missing)} missing, {len(more)} more, {twice} twice\n"
          f"float64 decides {expected.otherwise} pairs otherwise; the bundle's similarities are at "
          f"most {expected.apart:.1e} off")  # fmt: skip


if __name__ == "__main__":
    main()
