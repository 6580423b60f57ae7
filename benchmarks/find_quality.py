"""How good pairs and clusters are, where labels say what belongs together.

python -m benchmarks.find_quality --model BUNDLE --labelled 'pairs/*.parquet'

Finds the similar pairs of the distinct sentences of labelled pairs, makes clusters of them, and
compares with the labels:
- pairs: of the labelled pairs, which did `find` write, and which are in one cluster
  (precision and recall);
- B³ (Bagga and Baldwin 1998): the labels' own clusters are what labelled-similar pairs join; of
  each sentence, which share of its cluster is right, and which share of its right cluster is there.
A pair without a label is neither right nor wrong for the first; for B³ it is wrong, unless
other labels join it, so its precision is a lower bound.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines import cluster, find


def labelled_pairs(patterns: list[str]) -> pd.DataFrame:
    """Distinct labelled pairs of two sentences, each unordered pair once."""
    paths = [path for pattern in patterns for path in sorted(Path().glob(pattern))] or patterns
    columns = ["sentence1", "sentence2", "label"]
    rows = pd.concat([pd.read_parquet(path, columns=columns) for path in paths]).dropna()
    rows = rows[(rows.sentence1.str.strip() != "") & (rows.sentence2.str.strip() != "")]
    one, two = rows[["sentence1", "sentence2"]].min(axis=1), rows[columns[:2]].max(axis=1)
    found = pd.DataFrame({"one": one, "two": two, "label": rows.label.astype(int)})
    return found[found.one != found.two].drop_duplicates(["one", "two"])


def right_clusters(pairs: pd.DataFrame) -> dict[str, str]:
    """Sentence → a sentence that stands for its right cluster (union by labelled pairs)."""
    above: dict[str, str] = {text: text for text in pd.unique(pairs[["one", "two"]].values.ravel())}

    def top(text: str) -> str:
        while above[text] != text:
            above[text] = above[above[text]]
            text = above[text]
        return text

    for one, two in pairs.loc[pairs.label == 1, ["one", "two"]].itertuples(index=False):
        above[top(one)] = top(two)
    return {text: top(text) for text in above}


def b_cubed(found: dict[str, object], right: dict[str, str]) -> tuple[float, float]:
    """B³ precision and recall over all sentences, each its own weight."""
    both = Counter((found[text], right[text]) for text in right)
    ours, theirs = Counter(found[text] for text in right), Counter(right.values())
    squares = [(count * count, ours[one], theirs[two]) for (one, two), count in both.items()]
    return tuple(
        sum(square / sizes[side] for square, *sizes in squares) / len(right) for side in (0, 1)
    )


def precision_recall(predicted: Iterable[bool], true: Iterable[int]) -> tuple[float, float]:
    """Of pairs that were said to be similar, and of pairs that are."""
    table = Counter(zip(map(bool, predicted), map(bool, true), strict=True))
    hits = table[True, True]
    return hits / max(1, hits + table[True, False]), hits / max(1, hits + table[False, True])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--labelled", nargs="+", required=True)
    parser.add_argument("--min_similarity", type=float, nargs="+", default=[None])
    parser.add_argument("flags", nargs="*", help="flags of find, after --")
    args = parser.parse_args()
    pairs = labelled_pairs(args.labelled)
    right = right_clusters(pairs)
    print(f"{len(pairs):,} labelled pairs of {len(right):,} sentences, "
          f"{len(set(right.values())):,} right clusters\n")  # fmt: skip
    print("| least similarity | pairs found | their P | R | clusters | pairs in one: P | R "
          "| B³ P | R |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |")  # fmt: skip
    for least in args.min_similarity:
        with tempfile.TemporaryDirectory(prefix="twinbeam-bench-") as folder:
            show(args, least, pairs, right, folder)


def show(
    args: argparse.Namespace,
    least: float | None,
    pairs: pd.DataFrame,
    right: dict[str, str],
    folder: str,
) -> None:
    """A line for one least similarity."""
    texts = sorted(right)
    rows = f"{folder}/in.parquet"
    pq.write_table(pa.table({"id": range(len(texts)), "sentence": texts}), rows)
    words = ["--input", rows, "--model", args.model, "--output", f"{folder}/pairs", *args.flags]
    words += [] if least is None else ["--min_similarity", str(least)]
    manifest = find.run(words)
    made = cluster.run(
        ["--input", f"{folder}/pairs", "--rows", rows, "--output", f"{folder}/clusters"]
    )
    found = pd.read_parquet(f"{folder}/pairs", columns=["sentence1", "sentence2"])
    written = set(zip(found.min(axis=1), found.max(axis=1), strict=True))
    clusters = pd.read_parquet(f"{folder}/clusters", columns=["sentence", "cluster_id"])
    cluster_of = dict(zip(clusters.sentence, clusters.cluster_id, strict=True))
    in_pairs = [(one, two) in written for one, two in zip(pairs.one, pairs.two, strict=True)]
    joined = [
        cluster_of[one] == cluster_of[two] for one, two in zip(pairs.one, pairs.two, strict=True)
    ]
    numbers = *precision_recall(in_pairs, pairs.label), *precision_recall(joined, pairs.label)
    p1, r1, p2, r2 = numbers
    p3, r3 = b_cubed(cluster_of, right)
    print(f"| {manifest['options']['min_similarity']:.3f} | {manifest['pairs_found']:,} | {p1:.3f} "
          f"| {r1:.3f} | {made['clusters']:,} | {p2:.3f} | {r2:.3f} | {p3:.3f} | {r3:.3f} |",
          flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
