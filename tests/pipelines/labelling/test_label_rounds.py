"""Rounds of labelling: the accounts, with steps that are quick; real ones are in tests/e2e."""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from pipelines import label
from tests.e2e.conftest import RECIPE, pairs
from tests.label_answers import answers, truth
from tests.scored_pairs import write_scores
from transforms.errors import UserError

PAIRS = 60


class Steps:
    """Stands for preprocess, train and score: each does its work once, and can be killed."""

    def __init__(self, monkeypatch):
        self.done: list[str] = []
        self.killed: str | None = None
        self.monkeypatch = monkeypatch
        self.use(self.score)

    def use(self, score) -> None:
        """Puts the quick steps in the place of the real ones, with this one to score."""
        quick = replace(label.STEPS, preprocess=self.preprocess, train=self.train, score=score)
        self.monkeypatch.setattr(label, "STEPS", quick)

    def begin(self, name: str, argv: list[str]) -> argparse.Namespace | None:
        parser = argparse.ArgumentParser()
        for flag in ("input", "model", "output", "recipe", "examples", "init_from"):
            parser.add_argument(f"--{flag}")
        options = parser.parse_known_args(argv)[0]
        if self.killed == name:
            raise KeyboardInterrupt
        if Path(options.output).exists():
            return None
        self.done.append(name)
        return options

    def preprocess(self, argv):
        if options := self.begin("preprocess", argv):
            shutil.copytree(Path(options.input).parent, options.output)

    def train(self, argv):
        if options := self.begin("train", argv):
            rows = pq.read_table(Path(options.examples) / "labels.parquet")
            Path(options.output).mkdir()
            manifest = {"fingerprint": f"{rows.num_rows} from {Path(options.init_from).name}"}
            (Path(options.output) / "manifest.json").write_text(json.dumps(manifest))

    def score(self, argv):
        if options := self.begin("score", argv):
            table = pq.read_table(options.input)
            right = truth(table.to_pandas())
            noise = np.random.default_rng(len(options.model)).normal(0, 0.35, len(right))
            similarity = np.clip(right * 0.5 + 0.25 + noise, 0, 1).astype(np.float32)
            write_scores(Path(options.output), table.append_column("similarity", [similarity]))


@pytest.fixture
def steps(monkeypatch) -> Steps:
    return Steps(monkeypatch)


@pytest.fixture
def flags(tmp_path: Path) -> list[str]:
    """The command of every round; the pairs to choose from have no label."""
    pq.write_table(pairs(900).drop_columns(["label"]), tmp_path / "pairs.parquet")
    for name in ("labels", "bundle"):
        (tmp_path / name).mkdir()
    (tmp_path / "bundle/manifest.json").write_text('{"fingerprint": "first"}')
    (tmp_path / "bundle/recipe.yaml").write_text(RECIPE)
    return [
        "--next", "--input", str(tmp_path / "pairs.parquet"), "--model", str(tmp_path / "bundle"),
        "--labelled", str(tmp_path / "labels/*"), "--output", str(tmp_path / "rounds"),
        "--pairs", str(PAIRS), "--random_share", "0.5",
    ]  # fmt: skip


def test_rounds_by_the_same_command(flags: list[str], steps: Steps, tmp_path: Path, capsys):
    rounds = tmp_path / "rounds"
    first = label.run(flags)
    table = capsys.readouterr().out.splitlines()[-3:]
    assert table[0].split()[:4] == ["round", "labels", "accuracy", "95"]
    assert table[1].split()[:5] == ["1", "0", "not", "yet", "0"]
    assert "round-1/to-label/label.html" in table[2]
    before = {path: path.stat().st_mtime_ns for path in rounds.rglob("*")}
    assert label.run(flags) == first and "there are no new labels" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in rounds.rglob("*")}
    assert steps.done == ["score"]

    given = answers(rounds / "round-1/to-label")
    given.to_parquet(tmp_path / "labels/one.parquet")
    second = label.run(flags)
    assert "60 rows of labels = 60 labels" in capsys.readouterr().out
    assert steps.done == ["score", "preprocess", "train", "score"]
    one, two = second["rounds"]
    assert (one["labels"], two["labels"], two["same"]) == (0, PAIRS, given["label"].sum())
    assert (one["fingerprint"], two["fingerprint"]) == ("first", "60 from bundle")
    assert one["accuracy"]["answered"] == one["random_pairs"] == 30 and two["accuracy"] is None
    # The accuracy by hand: each predicted class's share of right answers, weighted by its rows.
    choice = json.loads((rounds / "round-1/to-label/choice.json").read_text())
    random = given[given["chosen_for"] == "random"]
    right = {k: (part["label"] == k).mean() for k, part in random.groupby("predicted")}
    rows = {int(k): n for k, n in choice["rows_by_predicted"].items()}
    expected = sum(right[k] * rows[k] for k in rows) / sum(rows.values())
    assert one["accuracy"]["value"] == pytest.approx(expected)
    assert one["accuracy"]["low"] < expected < one["accuracy"]["high"]
    chosen = pq.read_table(rounds / "round-2/to-label/pairs.parquet").to_pandas()
    assert len(chosen) == PAIRS and not set(chosen["pair"]) & set(given["pair"])


def test_answers_that_are_blank_repeated_or_changed(flags, steps: Steps, tmp_path: Path, capsys):
    rounds = tmp_path / "rounds"
    label.run(flags)
    given = answers(rounds / "round-1/to-label")
    given.to_parquet(tmp_path / "labels/one.parquet")
    label.run(flags)
    # The first file is gone; the second has one blank, one repeated and one changed answer.
    (tmp_path / "labels/one.parquet").unlink()
    new = answers(rounds / "round-2/to-label").astype({"label": "object"})
    new.loc[0, "label"] = ""
    changed = given.iloc[[0]].assign(label=1 - given["label"].iloc[0])
    pd.concat([new, given.iloc[[1]], changed]).to_csv(tmp_path / "labels/two.csv", index=False)
    capsys.readouterr()
    done = label.run(flags)
    printed = capsys.readouterr().out

    assert (
        "122 rows of labels = 119 labels + 1 without an answer + 1 repeated "
        "+ 1 changed by a later answer"
    ) in printed
    assert [each["labels"] for each in done["rounds"]] == [0, 60, 119]
    kept = pq.read_table(rounds / "round-3/labels.parquet").to_pandas().set_index("pair")["label"]
    assert kept[given["pair"].iloc[0]] == changed["label"].iloc[0]
    assert kept[given["pair"].iloc[1]] == given["label"].iloc[1]
    # Changed back, it is new again, and the accuracy of the first round follows.
    given.to_parquet(tmp_path / "labels/z.parquet")
    again = label.run(flags)
    assert len(again["rounds"]) == 4


@pytest.mark.parametrize("step", ["preprocess", "train", "score"])
def test_a_killed_round_resumes(flags, steps: Steps, tmp_path: Path, step: str):
    label.run(flags)
    answers(tmp_path / "rounds/round-1/to-label").to_parquet(tmp_path / "labels/one.parquet")
    steps.killed, steps.done = step, []
    with pytest.raises(KeyboardInterrupt):
        label.run(flags)
    kept = json.loads((tmp_path / "rounds/rounds.json").read_text())
    assert len(kept["rounds"]) == 1
    steps.killed = None
    done = label.run(flags)

    assert steps.done == ["preprocess", "train", "score"]  # each once
    assert [each["labels"] for each in done["rounds"]] == [0, PAIRS]


def test_killed_between_the_page_and_the_commit(flags, steps: Steps, tmp_path: Path, capsys):
    label.run(flags)
    kept = (tmp_path / "rounds/rounds.json").read_bytes()
    answers(tmp_path / "rounds/round-1/to-label").to_parquet(tmp_path / "labels/one.parquet")
    done = label.run(flags)
    steps.done.clear()
    (tmp_path / "rounds/rounds.json").write_bytes(kept)
    assert label.run(flags) == done and not steps.done
    assert json.loads((tmp_path / "rounds/rounds.json").read_text()) == done


def test_more_labels_after_a_round_was_killed(flags, steps: Steps, tmp_path: Path):
    label.run(flags)
    answers(tmp_path / "rounds/round-1/to-label").to_parquet(tmp_path / "labels/one.parquet")
    steps.killed = "score"
    with pytest.raises(KeyboardInterrupt):
        label.run(flags)
    steps.killed = None
    more = pairs(4).to_pandas().assign(sentence1=lambda table: table["sentence1"] + " now")
    more.to_parquet(tmp_path / "labels/two.parquet")
    done = label.run(flags)

    assert [each["labels"] for each in done["rounds"]] == [0, 64]
    assert done["rounds"][1]["fingerprint"] == "64 from bundle"


def test_a_run_that_was_superseded_commits_nothing(flags, steps: Steps, tmp_path):
    from transforms.accounts.claims import take
    from transforms.errors import RunError

    real = steps.score

    def taken(argv):
        real(argv)
        take(str(tmp_path / "rounds"))  # another machine begins

    steps.use(taken)
    with pytest.raises(RunError, match="taken over by another run"):
        label.run(flags)
    assert not (tmp_path / "rounds/rounds.json").exists()


def test_labels_before_the_first_round_and_other_settings(flags, steps: Steps, tmp_path: Path):
    pairs(80).to_pandas().to_parquet(tmp_path / "labels/old.parquet")
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("epochs: 2", "epochs: 1"))
    done = label.run([*flags, "--recipe", str(tmp_path / "recipe.yaml")])
    sides = zip(*(pairs(80)[name].to_pylist() for name in ("sentence1", "sentence2")), strict=True)

    assert [each["labels"] for each in done["rounds"]] == [len(set(map(frozenset, sides)))]
    with pytest.raises(UserError, match="made with other options or inputs.*--recipe"):
        label.run(flags)
    (tmp_path / "bundle/manifest.json").write_text('{"fingerprint": "other"}')
    with pytest.raises(UserError, match="the inputs have changed"):
        label.run([*flags, "--recipe", str(tmp_path / "recipe.yaml")])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--model", "nowhere"], "nowhere is not a bundle"),
        (["--estimate", "x"], "give --input"),
        (["--threshold", "0.5"], "--threshold does not go with --next"),
        (["--overwrite"], "--overwrite does not go with --next"),
        (["--labelled", "no/such.parquet"], "matches no file"),
        (["--recipe", "cosine-mse"], "expected those two"),
    ],
)
def test_mistakes_are_reported(flags: list[str], more: list[str], message: str):
    with pytest.raises(UserError, match=message):
        label.run([*flags, *more])


def test_flags_of_a_round_belong_to_next(tmp_path: Path):
    with pytest.raises(UserError, match="--model belongs to --next"):
        label.run(["--input", "x", "--output", str(tmp_path / "o"), "--model", "b"])
    with pytest.raises(UserError, match="--next needs --model"):
        label.run(["--next", "--input", "x", "--output", str(tmp_path / "o")])


def test_labels_that_all_say_the_same_teach_nothing(flags: list[str], tmp_path: Path):
    pairs(20).to_pandas().assign(label=1).to_parquet(tmp_path / "labels/one.parquet")
    with pytest.raises(UserError, match="all .* labels say same; a model learns from both"):
        label.run(flags)


def test_a_folder_with_other_things_is_left_alone(flags: list[str], tmp_path: Path):
    (tmp_path / "rounds").mkdir()
    (tmp_path / "rounds/thesis.txt").touch()
    with pytest.raises(UserError, match=r"'thesis.txt' and no rounds.json"):
        label.run(flags)
