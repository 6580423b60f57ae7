"""What rounds of labelling are worth: as many labels at random, and three times as many.

python -m benchmarks.label_rounds --pool pool.parquet --measured dev.parquet --model out/universal \
    --recipe universal-finetuned --folder out/rounds-benchmark

The pool's labels stand for a person: the first `--pairs` are drawn at random, then each of
`--rounds` rounds of `label --next` chooses as many. Beside it the same recipe learns from random
pairs of the pool, as many and three times as many. Every model is measured on the other file,
which chooses nothing. Each step is the real command; one that was done before is not done again.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from pipelines import label, preprocess, score, train

SIDES = ["sentence1", "sentence2"]
MORE = 3  # times as many random labels


def keys(table: pd.DataFrame) -> pd.Series:
    """What names an unordered pair."""
    return table[SIDES].apply(lambda pair: "\0".join(sorted(pair)), axis=1)


def answer(page: Path, truth: pd.Series) -> pd.DataFrame:
    """The chosen pairs of a round with their true labels."""
    chosen = pd.read_parquet(page / "pairs.parquet")
    return chosen.assign(label=truth[keys(chosen)].to_numpy())


def measured(bundle: str, file: Path, folder: Path) -> float:
    """The accuracy of a bundle on a labelled file."""
    score.run(["--input", str(file), "--model", bundle, "--output", str(folder)])
    parts = [pd.read_parquet(path) for path in sorted(folder.glob("*.parquet"))]
    scored = pd.concat(parts)
    return float((scored["similarity_label"].astype(int) == scored["label"].astype(int)).mean())


def run_rounds(args: argparse.Namespace, pool: pd.DataFrame) -> dict[int, float]:
    """Labels so far → accuracy of the model of each round."""
    folder = args.folder / f"chosen-{args.seed}"
    (folder / "labels").mkdir(parents=True, exist_ok=True)
    truth = pd.Series(pool["label"].astype(int).to_numpy(), index=keys(pool))
    truth = truth[~truth.index.duplicated()]
    random_first = pool.sample(args.pairs, random_state=args.seed)
    random_first.to_parquet(folder / "labels/0.parquet")
    found = {}
    for number in range(args.rounds + 1):
        done = label.run(
            ["--next", "--input", str(args.folder / "pool.parquet"), "--model", args.model,
             "--recipe", args.recipe, "--labelled", str(folder / "labels/*"),
             "--output", str(folder / "rounds"), "--pairs", str(args.pairs),
             "--random_share", str(args.random_share), "--seed", str(args.seed)]
        )["rounds"][number]  # fmt: skip
        scores = folder / f"measured-{number}"
        found[done["labels"]] = measured(done["bundle"], args.measured, scores)
        print(
            f"chosen  {done['labels']:6,} labels   accuracy {found[done['labels']]:.4f}", flush=True
        )
        answers = answer(Path(done["page"]), truth)
        answers.to_parquet(folder / f"labels/{number + 1}.parquet")
    return found


def run_random(args: argparse.Namespace, pool: pd.DataFrame, rows: int) -> float:
    """The accuracy after fine-tuning on so many random pairs of the pool."""
    folder = args.folder / f"random-{args.seed}-{rows}"
    folder.mkdir(parents=True, exist_ok=True)
    pool.sample(rows, random_state=args.seed).to_parquet(folder / "labels.parquet")
    preprocess.run(
        ["--input", str(folder / "labels.parquet"), "--recipe", args.recipe,
         "--output", str(folder / "examples"), "--overwrite"]
    )  # fmt: skip
    train.run(
        ["--examples", str(folder / "examples"), "--init_from", args.model,
         "--output", str(folder / "bundle"), "--overwrite"]
    )  # fmt: skip
    found = measured(str(folder / "bundle"), args.measured, folder / "measured")
    print(f"random  {rows:6,} labels   accuracy {found:.4f}", flush=True)
    return found


def main(argv: Sequence[str] | None = None) -> dict[str, dict[int, float]]:
    """Prints and returns labels → accuracy for chosen and for random pairs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pool", type=Path, required=True, help="labelled pairs to choose from")
    parser.add_argument("--measured", type=Path, required=True, help="labelled pairs to measure on")
    parser.add_argument("--model", required=True, help="bundle to begin with")
    parser.add_argument("--recipe", required=True, help="to fine-tune by")
    parser.add_argument("--folder", type=Path, required=True, help="for all that is made")
    parser.add_argument("--pairs", type=int, default=500, help="of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--random_share", type=float, default=0.0, help="of a round's pairs")
    parser.add_argument("--pool_rows", type=int, help="the first rows of the pool alone")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    pool = pd.read_parquet(args.pool)[: args.pool_rows]
    args.folder.mkdir(parents=True, exist_ok=True)
    if not (args.folder / "pool.parquet").exists():
        pool[SIDES].to_parquet(args.folder / "pool.parquet")
    chosen = run_rounds(args, pool)
    most = max(chosen)
    counts = [rows for rows in (most, MORE * most) if rows <= len(pool)]
    random = {rows: run_random(args, pool, rows) for rows in counts}
    gained = np.array(list(chosen.values()))
    print(f"chosen from {min(chosen):,} to {most:,} labels: {gained[0]:.4f} to {gained[-1]:.4f}")
    for rows, value in random.items():
        print(f"{rows / most:.0f} times as many at random: {value:.4f}")
    return {"chosen": chosen, "random": random}


if __name__ == "__main__":
    main()
