"""What `benchmarks.label_rounds` draws and answers; the steps are tested with `label --next`."""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from benchmarks import label_rounds

POOL = pd.DataFrame(
    {
        "sentence1": [f"a{n}" for n in range(40)],
        "sentence2": [f"b{n}" for n in range(40)],
        "label": [n % 2 for n in range(40)],
    }
)


def test_the_pool_answers_whichever_way_round(tmp_path: Path):
    truth = pd.Series(POOL["label"].to_numpy(), index=label_rounds.keys(POOL))
    chosen = pd.DataFrame({"sentence1": ["b3", "a4"], "sentence2": ["a3", "b4"]})
    chosen.to_parquet(tmp_path / "pairs.parquet")

    assert label_rounds.answer(tmp_path, truth)["label"].tolist() == [1, 0]


def test_each_round_learns_from_all_that_were_chosen_before(tmp_path: Path, monkeypatch):
    seen: list[int] = []

    def next_round(argv: list[str]) -> dict:
        flags = dict(zip(argv[1::2], argv[2::2], strict=True))
        files = sorted(Path(flags["--labelled"]).parent.glob("*.parquet"))
        labels = pd.concat(pd.read_parquet(path) for path in files)
        assert (labels["label"].to_numpy() == labels["sentence1"].str[1:].astype(int) % 2).all()
        left = POOL[~POOL["sentence1"].isin(labels["sentence1"])]
        page = tmp_path / f"page-{len(seen)}"
        page.mkdir()
        left.head(int(flags["--pairs"])).drop(columns="label").to_parquet(page / "pairs.parquet")
        seen.append(labels["sentence1"].nunique())
        done = [{"labels": n, "bundle": f"bundle {n}", "page": str(page)} for n in seen]
        return {"rounds": done}

    monkeypatch.setattr(label_rounds.label, "run", next_round)
    monkeypatch.setattr(label_rounds, "measured", lambda bundle, *_: float(bundle.split()[1]))
    args = argparse.Namespace(
        folder=tmp_path, seed=0, pairs=5, rounds=3, model="m", recipe="r", random_share=0.0,
        measured=tmp_path,
    )  # fmt: skip

    assert label_rounds.run_rounds(args, POOL) == {5: 5.0, 10: 10.0, 15: 15.0, 20: 20.0}
