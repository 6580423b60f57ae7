"""Chooses the threshold of a bundle that was never trained, on public labelled pairs.

python -m benchmarks.untrained --model out/bundle --data ../shared/data \
    --files lcqmc_train bq_train80k stsb_en_train

For each file it prints the cut with the best balanced accuracy (the mean of what it gets right of
the similar and of the other pairs), and then the one cut with the best mean over all files: that is
what a recipe says under `untrained`. Only training files are read, of each the first pairs.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

ROWS = 2_000
BATCH = 200
SIMILAR_FROM = 3.0  # of a relatedness from 0 to 5


def read_labels(table: pd.DataFrame) -> np.ndarray:
    """Whether each pair is similar, bool [n]."""
    if "relatedness" in table:
        return table["relatedness"].to_numpy() >= SIMILAR_FROM
    return table["label"].astype(int).to_numpy() == 1


def similarities(bundle: object, table: pd.DataFrame) -> np.ndarray:
    """What the bundle says of each pair, [n]; pairs of about one length are scored together."""
    sides = [table[name].to_numpy(object) for name in ("sentence1", "sentence2")]
    order = np.argsort([len(a) + len(b) for a, b in zip(*sides, strict=True)], kind="stable")
    found = np.empty(len(table))
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        found[rows] = bundle.score(*(side[rows] for side in sides))["similarity"]  # type: ignore[attr-defined]
    return found


def balanced_accuracy(similar: np.ndarray, labels: np.ndarray, cuts: np.ndarray) -> np.ndarray:
    """The balanced accuracy of labelling similar what is at or above each cut: [cuts]."""
    of_similar, of_others = np.sort(similar[labels]), np.sort(similar[~labels])
    kept = 1 - np.searchsorted(of_similar, cuts) / len(of_similar)
    refused = np.searchsorted(of_others, cuts) / len(of_others)
    return (kept + refused) / 2


def main(argv: Sequence[str] | None = None) -> float:
    """Prints the cuts, and returns the one for all files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True, help="bundle of train --recipe")
    parser.add_argument("--data", type=Path, required=True, help="folder with the Parquet files")
    parser.add_argument("--files", nargs="+", required=True, help="names without .parquet")
    args = parser.parse_args(argv)
    from model.bundle.loading import load

    bundle = load(args.model)
    scored = {}
    for name in args.files:
        table = pd.read_parquet(args.data / f"{name}.parquet")[:ROWS]
        scored[name] = similarities(bundle, table), read_labels(table)
    cuts = np.unique(np.concatenate([similar for similar, _ in scored.values()]))
    total = np.zeros(len(cuts))
    for name, (similar, labels) in scored.items():
        accuracy = balanced_accuracy(similar, labels, cuts)
        best = int(accuracy.argmax())
        print(f"{name:16} best at {cuts[best]:.4f}: balanced accuracy {accuracy[best]:.4f}")
        total += accuracy / len(scored)
    best = int(total.argmax())
    print(f"{'all of them':16} best at {cuts[best]:.4f}: balanced accuracy {total[best]:.4f}")
    return float(cuts[best])


if __name__ == "__main__":
    main()
