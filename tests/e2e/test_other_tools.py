"""What other tools read in a folder of scores: the scored rows, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from pipelines import inspect
from pipelines.options.scored_inputs import is_folder, lineage, score_inputs
from pipelines.scoring import plan_scores
from tests.scoring_kit import EqualBundle, exit_code, pairs, run_score, write

ROWS, BLANK = 90, 7
SCORED = [row for row in range(ROWS) if row != BLANK]


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of several shards, with a rejected row and a drift page; to be read only."""
    tmp_path = tmp_path_factory.mktemp("tools")
    table = pairs(ROWS)
    left = table["sentence1"].to_pylist()
    left[BLANK] = " "
    source = write(
        tmp_path / "in.parquet", table.set_column(1, "sentence1", [left]), row_group_size=30
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan_scores, "BundleScorer", EqualBundle)
        run_score(source, tmp_path / "out", "--shard_rows=30", "--max_reject_fraction=1")
    (tmp_path / "out" / "_drift.html").write_text("<p>")
    assert len(list((tmp_path / "out").glob("*.parquet"))) == 3
    return tmp_path / "out"


READERS: dict[str, Callable[[Path], list[int]]] = {
    "pandas": lambda folder: pd.read_parquet(folder)["id"].tolist(),
    "pyarrow data set": lambda folder: ds.dataset(folder).to_table()["id"].to_pylist(),
    "pyarrow": lambda folder: pq.read_table(folder)["id"].to_pylist(),
    "duckdb": lambda folder: [
        row[0] for row in duckdb.sql(f"select id from '{folder}/**/*.parquet'").fetchall()
    ],
    "polars": lambda folder: pl.read_parquet(f"{folder}/**/*.parquet")["id"].to_list(),
    "polars, one folder": lambda folder: pl.read_parquet(f"{folder}/*.parquet")["id"].to_list(),
}


@pytest.mark.parametrize("reader", READERS)
def test_other_tools_read_the_scored_rows_and_nothing_else(reader: str, scores: Path):
    assert sorted(READERS[reader](scores)) == SCORED


def test_what_is_no_score_begins_with_an_underscore(scores: Path):
    names = {path.name for path in scores.iterdir()}
    assert {"_manifest.json", "_SUCCESS", "_shards", "_rejects", "_drift.html"} <= names
    assert all(name.startswith("_") or name.endswith(".parquet") for name in names)


def test_rejected_rows_are_read_from_their_own_folder(scores: Path):
    rejects = scores / "_rejects"
    assert pd.read_parquet(rejects)["id"].tolist() == [BLANK]
    assert pl.read_parquet(f"{rejects}/*")["reject_reason"].to_list() == ["sentence_blank"]
    found = duckdb.sql(f"select id from read_parquet('{rejects}/*')").fetchall()
    assert found == [(BLANK,)]


@pytest.fixture
def earlier(scores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same folder under the names that version 0.1 gave."""
    monkeypatch.setattr(plan_scores, "BundleScorer", EqualBundle)
    scores = shutil.copytree(scores, tmp_path / "out")
    manifest = json.loads((scores / "_manifest.json").read_text())
    for path in [scores / "_manifest.json", *scores.glob("_shards/*.parquet.json")]:
        path.write_text(path.read_text().replace("_rejects/", "rejects/").replace(".rejected", ""))
    for path in scores.glob("_rejects/*"):
        path.rename(path.with_suffix(""))
    for name in ("_manifest.json", "_drift.html", "_rejects"):
        os.rename(scores / name, scores / name[1:])
    assert manifest["rows_rejected"] == 1 and (scores / "rejects").is_dir()
    return scores


def test_a_folder_with_earlier_names_is_read(earlier: Path):
    found = inspect.inspect(str(earlier))
    assert (found["kind"], found["sums"], found["finished"]) == ("scores", "valid", True)
    assert (found["rows_scored"], found["files"], found["reject_files"]) == (ROWS - 1, 3, 1)
    assert sorted(Path(file.path).name for file in score_inputs([str(earlier)])) == sorted(
        path.name for path in earlier.glob("*.parquet")
    )
    assert lineage([str(earlier)], None, None)["scores"]["rows_rejected"] == 1
    assert is_folder(str(earlier))


def test_scoring_into_a_folder_with_earlier_names_says_so(
    scores: Path, earlier: Path, capsys: pytest.CaptureFixture
):
    before = sorted(earlier.rglob("*"))
    how = (scores.parent / "in.parquet", earlier, "--shard_rows=30", "--max_reject_fraction=1")
    assert exit_code(*how) == 2
    assert "of an earlier version, with manifest.json among the scores" in capsys.readouterr().err
    assert sorted(earlier.rglob("*")) == before
    assert exit_code(*how, "--overwrite") == 0
    left = {path.name for path in earlier.iterdir()}
    assert not left & {"manifest.json", "drift.html"} and not list(earlier.glob("rejects/*"))
    assert sorted(READERS["pandas"](earlier)) == SCORED
