from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import label
from tests.scored_pairs import scored_table, write_scores
from transforms.errors import UserError


@pytest.fixture(scope="module")
def scores(tmp_path_factory) -> Path:
    return write_scores(tmp_path_factory.mktemp("scored") / "scores", scored_table(3_000))


def chosen(output: Path) -> pd.DataFrame:
    return pq.read_table(output / "pairs.parquet").to_pandas()


def test_a_choice_and_the_same_command_again(scores: Path, tmp_path: Path, capsys):
    flags = ["--input", str(scores), "--pairs", "40", "--random_share", "0.25"]
    found = label.run([*flags, "--output", str(tmp_path / "a")])
    page = (tmp_path / "a/label.html").read_text()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "a").iterdir()}
    again = label.run([*flags, "--output", str(tmp_path / "a")])
    label.run([*flags, "--output", str(tmp_path / "b"), "--shard_rows", "500"])

    assert (found["pairs"], found["random_pairs"]) == (40, 10)
    assert sum(found["rows_by_predicted"].values()) + sum(found["rows_skipped"].values()) == 3_000
    assert again == found and "complete already" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "a").iterdir()}
    assert chosen(tmp_path / "a").equals(chosen(tmp_path / "b"))
    assert all(json.dumps(text)[1:-1] in page for text in chosen(tmp_path / "a")["sentence1"])
    with pytest.raises(UserError, match="holds another choice.*--overwrite"):
        label.run([*flags, "--output", str(tmp_path / "a"), "--seed", "1"])
    label.run([*flags, "--output", str(tmp_path / "a"), "--seed", "1", "--overwrite"])
    assert not chosen(tmp_path / "a").equals(chosen(tmp_path / "b"))


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_labelled_pairs_are_not_asked_again(scores: Path, tmp_path: Path, ending: str):
    flags = ["--input", str(scores), "--pairs", "30"]
    label.run([*flags, "--output", str(tmp_path / "a")])
    first = chosen(tmp_path / "a")
    labels = first[["sentence2", "sentence1"]].set_axis(["sentence1", "sentence2"], axis=1)
    path = tmp_path / f"labels.{ending}"
    labels.to_parquet(path) if ending == "parquet" else labels.to_csv(path, index=False)
    label.run([*flags, "--output", str(tmp_path / "b"), "--labelled", str(path)])

    assert not set(first["pair"]) & set(chosen(tmp_path / "b")["pair"])


def test_estimates_from_the_random_share(scores: Path, tmp_path: Path, capsys):
    output = str(tmp_path / "a")
    label.run(["--input", str(scores), "--output", output, "--pairs", "200", "--random_share", "1"])
    table = scored_table(3_000)
    known = {
        frozenset(pair[:2]): pair[2]
        for pair in zip(
            *(table[n].to_pylist() for n in ("sentence1", "sentence2", "label")), strict=True
        )
    }
    pairs = chosen(tmp_path / "a")
    pairs["label"] = [
        known[frozenset(p)] for p in zip(pairs.sentence1, pairs.sentence2, strict=True)
    ]
    pairs.to_parquet(tmp_path / "labels.parquet")
    found = label.run(["--estimate", str(tmp_path / "labels.parquet"), "--output", output])
    of_same = pairs[pairs.predicted == 1]

    assert found["precision"]["value"] == pytest.approx(of_same.label.mean())
    assert found["precision"]["low"] < found["precision"]["value"] < found["precision"]["high"]
    assert found["labelled"] == len(pairs) and "recall" in capsys.readouterr().out
    pairs.assign(pair="0").to_csv(tmp_path / "other.csv", index=False)
    with pytest.raises(UserError, match="no answer to a random pair of"):
        label.run(["--estimate", str(tmp_path / "other.csv"), "--output", output])


def test_a_page_holds_nothing_that_runs_but_its_own_script(tmp_path: Path):
    table = pa.table(
        {
            "sentence1": ["</script><script>alert(1)</script>", "b"],
            "sentence2": ["<!--", "\u2028 c"],
            "similarity": [0.5, 0.5],
        }
    )
    pq.write_table(table, tmp_path / "p.parquet")
    label.run(["--input", str(tmp_path / "p.parquet"), "--output", str(tmp_path / "out")])
    page = (tmp_path / "out/label.html").read_text()

    assert page.count("<script>") == page.count("</script>") == 1
    assert "http://" not in page and "https://" not in page


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "give --input SCORES to choose pairs, or --estimate"),
        (["--input", "x", "--estimate", "y"], "give --input"),
        (["--input", "{}", "--similarity_column", "none"], "no column 'none'"),
        (["--input", "{}", "--similarity_column", "channel"], "expected numbers"),
        (["--input", "{}", "--cluster_column", "none"], "no column 'none'"),
        (
            ["--input", "{}", "--labelled", "{}/*.parquet", "--sentence1_column", "x"],
            "no column 'x'",
        ),
    ],
)
def test_mistakes_are_reported(scores: Path, tmp_path: Path, flags: list[str], message: str):
    flags = [flag.format(scores) for flag in flags]
    with pytest.raises(UserError, match=message):
        label.run([*flags, "--output", str(tmp_path / "out")])


def test_a_folder_with_other_things_is_left_alone(scores: Path, tmp_path: Path):
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(UserError, match="'thesis.txt', which label did not write"):
        label.run(["--input", str(scores), "--output", str(tmp_path)])
