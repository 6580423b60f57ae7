from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import label, label_rounds
from tests.e2e.conftest import RECIPE, TOPICS, pairs
from transforms.errors import UserError


def truth(table: pd.DataFrame) -> np.ndarray:
    """Whether both sentences are about one topic."""
    sides = [
        [next(topic for topic in TOPICS if topic in text) for text in table[name]]
        for name in ("sentence1", "sentence2")
    ]
    return np.array([one == other for one, other in zip(*sides, strict=True)], np.int64)


def answers(page: Path) -> pd.DataFrame:
    """What a person who knows the truth saves on the page."""
    chosen = pq.read_table(page / "pairs.parquet").to_pandas()
    return chosen.assign(label=truth(chosen))


@pytest.fixture
def flags(tiny, tmp_path: Path) -> list[str]:
    """The command of every round; the pairs to choose from have no label."""
    pq.write_table(pairs(900).drop_columns(["label"]), tmp_path / "pairs.parquet")
    (tmp_path / "labels").mkdir()
    return [
        "--next", "--input", str(tmp_path / "pairs.parquet"), "--model", tiny.bundle,
        "--labelled", str(tmp_path / "labels/*"), "--output", str(tmp_path / "rounds"),
        "--pairs", "60", "--random_share", "0.5",
    ]  # fmt: skip


def test_rounds_by_the_same_command(flags: list[str], tmp_path: Path, capsys):
    rounds = tmp_path / "rounds"
    first = label.run(flags)
    table = capsys.readouterr().out.splitlines()
    again = label.run(flags)
    assert again == first and "no label is new" in capsys.readouterr().out
    assert table[-3].split()[:4] == ["round", "labels", "accuracy", "95"]
    assert table[-2].split()[:5] == ["1", "0", "not", "yet", "0"]

    given = answers(rounds / "round-1/to-label")
    given.to_parquet(tmp_path / "labels/one.parquet")
    second = label.run(flags)
    said = capsys.readouterr().out
    assert "60 rows of labels = 60 labels" in said and "weights from" in said
    one, two = second["rounds"]
    assert (one["labels"], two["labels"], two["same"]) == (0, 60, given["label"].sum())
    assert one["bundle"] != two["bundle"] == str(rounds / "round-2/bundle")
    assert one["accuracy"]["answered"] == one["random_pairs"] == 30 and two["accuracy"] is None
    # The accuracy by hand: each predicted class's share of right answers, by its rows.
    choice = json.loads((rounds / "round-1/to-label/choice.json").read_text())
    random = given[given.chosen_for == "random"]
    right = {k: (part.label == k).mean() for k, part in random.groupby("predicted")}
    rows = {int(k): n for k, n in choice["rows_by_predicted"].items()}
    expected = sum(right[k] * rows[k] for k in rows) / sum(rows.values())
    assert one["accuracy"]["value"] == pytest.approx(expected)
    assert one["accuracy"]["low"] < expected < one["accuracy"]["high"]
    chosen = pq.read_table(rounds / "round-2/to-label/pairs.parquet").to_pandas()
    assert len(chosen) == 60 and not set(chosen["pair"]) & set(given["pair"])

    # The first file is gone, and a CSV has the new answers, one of them blank, and a changed one.
    (tmp_path / "labels/one.parquet").unlink()
    new = answers(rounds / "round-2/to-label").astype({"label": "object"})
    new.loc[0, "label"] = ""
    changed = given.iloc[[0]].assign(label=1 - given["label"].iloc[0])
    pd.concat([new, changed]).to_csv(tmp_path / "labels/two.csv", index=False)
    third = label.run(flags)
    said = capsys.readouterr().out
    assert "121 rows of labels = 119 labels + 1 without an answer + 1 answered otherwise" in said
    assert [each["labels"] for each in third["rounds"]] == [0, 60, 119]
    assert third["rounds"][1]["accuracy"]["answered"] in (29, 30)
    trained = json.loads((rounds / "round-3/examples/manifest.json").read_text())
    assert trained["rows_in"] == 119


def test_a_killed_round_resumes(flags: list[str], tmp_path: Path, monkeypatch, capsys):
    rounds = tmp_path / "rounds"
    label.run(flags)
    answers(rounds / "round-1/to-label").to_parquet(tmp_path / "labels/one.parquet")
    shutil.copytree(rounds, tmp_path / "before")
    for step in ("train", "score"):
        with monkeypatch.context() as patch:
            patch.setattr(getattr(label_rounds, step), "run", stop)
            with pytest.raises(KeyboardInterrupt):
                label.run(flags)
        assert len(json.loads((rounds / "rounds.json").read_text())["rounds"]) == 1
    capsys.readouterr()
    done = label.run(flags)
    said = capsys.readouterr().out
    assert said.count("complete already") == 2, said  # the examples and the bundle
    assert [each["labels"] for each in done["rounds"]] == [0, 60]

    # Killed between the page and the commit: the next command commits, and does no more.
    shutil.copy(tmp_path / "before/rounds.json", rounds / "rounds.json")
    assert label.run(flags) == done
    assert "no label is new" in capsys.readouterr().out
    assert json.loads((rounds / "rounds.json").read_text()) == done

    # Killed before the page, and then there are more labels: the round begins anew.
    shutil.rmtree(rounds)
    shutil.copytree(tmp_path / "before", rounds)
    with monkeypatch.context() as patch:
        patch.setattr(label_rounds.train, "run", stop)
        with pytest.raises(KeyboardInterrupt):
            label.run(flags)
    more = pairs(4).to_pandas().assign(sentence1=lambda t: t["sentence1"] + " now")
    more.to_parquet(tmp_path / "labels/two.parquet")
    assert [each["labels"] for each in label.run(flags)["rounds"]] == [0, 64]


def stop(argv):
    raise KeyboardInterrupt


def test_labels_before_the_first_round(flags: list[str], tmp_path: Path):
    pairs(80).to_pandas().to_parquet(tmp_path / "labels/old.parquet")
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("epochs: 2", "epochs: 1"))
    done = label.run([*flags, "--recipe", str(tmp_path / "recipe.yaml")])

    assert [each["labels"] for each in done["rounds"]] == [len({*known(pairs(80).to_pandas())})]
    with pytest.raises(UserError, match="made with other options or inputs.*--recipe"):
        label.run(flags)


def known(table: pd.DataFrame) -> list[frozenset[str]]:
    sides = (table[name].str.strip() for name in ("sentence1", "sentence2"))
    return [frozenset(pair) for pair in zip(*sides, strict=True)]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--model", "nowhere"], "nowhere is no bundle"),
        (["--estimate", "x"], "give --input"),
        (["--threshold", "0.5"], "--threshold does not go with --next"),
        (["--overwrite"], "--overwrite does not go with --next"),
        (["--labelled", "no/such.parquet"], "matches no file"),
        (["--recipe", "cosine-mse"], "expected those two"),
    ],
)
def test_mistakes_are_reported(flags: list[str], more: list[str], said: str):
    with pytest.raises(UserError, match=said):
        label.run([*flags, *more])


def test_flags_of_a_round_belong_to_next(tmp_path: Path):
    with pytest.raises(UserError, match="--model belongs to --next"):
        label.run(["--input", "x", "--output", str(tmp_path / "o"), "--model", "b"])
    with pytest.raises(UserError, match="--next needs --model"):
        label.run(["--next", "--input", "x", "--output", str(tmp_path / "o")])


def test_labels_that_all_say_the_same_teach_nothing(flags: list[str], tmp_path: Path):
    table = pairs(20).to_pandas().assign(label=1)
    table.to_parquet(tmp_path / "labels/one.parquet")
    with pytest.raises(UserError, match="all .* labels say same; a model learns from both"):
        label.run(flags)


def test_a_folder_with_other_things_is_left_alone(flags: list[str], tmp_path: Path):
    (tmp_path / "rounds").mkdir()
    (tmp_path / "rounds/thesis.txt").touch()
    with pytest.raises(UserError, match="'thesis.txt' and no rounds.json"):
        label.run(flags)
