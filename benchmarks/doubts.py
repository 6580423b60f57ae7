"""How many flipped labels `doubts` lists first, beside cleanlab's ranking of the same chances.

python -m benchmarks.doubts --data pairs.parquet --rows 30000 --model out/universal

Flips 5 % of the labels, ranks all of them, and prints which part of the first 5 % of the list are
flipped ones; by chance 5 %. `--model` is a bundle that did not train on them, such as that of
`train --recipe universal-cosine`. cleanlab (AGPL; `pip install cleanlab`) is measured where it is
installed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from transforms.labelling.doubts import doubt_labels
from transforms.labelling.labelled_pairs import LabelledPairs


def flip(label: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The labels with a share of them flipped, and which: [n] each."""
    flipped = np.zeros(len(label), bool)
    places = np.random.default_rng(seed).choice(len(label), round(share * len(label)), False)
    flipped[places] = True
    return np.where(flipped, 1 - label, label), flipped


def hits(doubt: np.ndarray, flipped: np.ndarray) -> float:
    """Which part of the most doubtful are flipped ones, of as many as were flipped."""
    first = np.argsort(-doubt, kind="stable")[: flipped.sum()]
    return float(flipped[first].mean())


def cleanlab_doubt(label: np.ndarray, chance: np.ndarray) -> np.ndarray | None:
    """cleanlab's ranking of the same cross-fitted chances; None where it is not installed."""
    try:
        from cleanlab.rank import get_label_quality_scores
    except ImportError:
        return None
    chances = np.stack([1 - chance, chance], axis=1)
    return -np.asarray(get_label_quality_scores(label, chances, method="self_confidence"))


def sentence_vectors(texts: list[str], model: str, cache: Path | None) -> np.ndarray:
    """The vectors of sentences, of length one: float32 [s, d]."""
    if cache is not None and cache.exists():
        kept = np.load(cache, allow_pickle=False)
        places = pd.Index(kept["texts"]).get_indexer(pd.Index(texts))
        if (places >= 0).all():
            return kept["vectors"][places]
    import twinbeam

    vectors = twinbeam.load(model).encode(texts)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-9)
    if cache is not None:
        np.savez(cache, texts=np.array(texts), vectors=vectors)
    return vectors


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Prints and returns the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="Parquet with label 0 and 1")
    parser.add_argument("--rows", type=int, help="the first rows alone")
    parser.add_argument("--skip", type=int, default=0, help="rows that are left out before them")
    parser.add_argument("--share", type=float, default=0.05, help="of the labels that are flipped")
    parser.add_argument("--seed", type=int, default=0, help="of the flips")
    parser.add_argument("--model", help="bundle for the vectors of sentences")
    parser.add_argument("--cache", type=Path, help="file that keeps the vectors")
    args = parser.parse_args(argv)
    table = pd.read_parquet(args.data)[args.skip :][: args.rows]
    label, flipped = flip(table["label"].astype(int).to_numpy(), args.share, args.seed)
    sides = (table[name].tolist() for name in ("sentence1", "sentence2"))
    pairs = LabelledPairs.from_columns(*sides, label)
    if args.model:
        pairs = replace(pairs, vectors=sentence_vectors(pairs.texts, args.model, args.cache))
    started = time.process_time()
    found = doubt_labels(pairs, seed=args.seed)
    seconds = time.process_time() - started
    result = {"doubts": hits(found["doubt"].to_numpy(), flipped)}
    theirs = cleanlab_doubt(label, found["chance_same"].to_numpy())
    if theirs is not None:
        result["cleanlab, same chances"] = hits(theirs, flipped)
    print(
        f"{len(label):,} pairs of {len(pairs.texts):,} sentences, {flipped.sum():,} flipped; "
        f"{seconds:.0f} s of processor"
    )
    for name, value in result.items():
        print(f"{name:24}{value:.1%} of the first {args.share:.0%} are flipped")
    return result


if __name__ == "__main__":
    main()
