"""Rounds of labelling by the real commands, and what the page saved on its way into a model."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import duckdb
import pandas as pd
import polars
import pyarrow.parquet as pq
import pytest

from pipelines import label, preprocess, score, train
from tests.e2e.conftest import pairs
from tests.label_answers import answers, truth
from tests.pipelines.report.test_label_page_in_a_browser import BROWSER, SAVED, drive

pytestmark = pytest.mark.slow


def test_two_rounds_by_the_same_command(tiny, tmp_path: Path, capsys):
    pq.write_table(pairs(900).drop_columns(["label"]), tmp_path / "pairs.parquet")
    (tmp_path / "labels").mkdir()
    flags = [
        "--next", "--input", str(tmp_path / "pairs.parquet"), "--model", tiny.bundle,
        "--labelled", str(tmp_path / "labels/*"), "--output", str(tmp_path / "rounds"),
        "--pairs", "60", "--random_share", "0.5",
    ]  # fmt: skip
    label.run(flags)
    page = tmp_path / "rounds/round-1/to-label"
    answers(page).to_parquet(tmp_path / "labels/one.parquet")
    capsys.readouterr()
    done = label.run(flags)
    printed = capsys.readouterr().out
    again = label.run(flags)

    assert again == done and "there are no new labels" in capsys.readouterr().out
    assert f"weights from {tiny.bundle}" in printed
    assert [each["labels"] for each in done["rounds"]] == [0, 60]
    metrics = json.loads((tmp_path / "rounds/round-2/bundle/metrics.json").read_text())
    assert metrics["rows_train"] + metrics["rows_eval"] == 60
    bundle = json.loads((tmp_path / "rounds/round-2/bundle/manifest.json").read_text())
    scored = json.loads((tmp_path / "rounds/round-2/scores/_manifest.json").read_text())
    assert scored["bundle"]["fingerprint"] == bundle["fingerprint"]
    assert done["rounds"][1]["fingerprint"] == bundle["fingerprint"]
    assert scored["rows_scored"] == 900


@pytest.mark.skipif(BROWSER is None, reason="no Chromium: apt-get install chromium")
def test_a_saved_page_goes_straight_into_preprocess(tiny, tmp_path: Path):
    scores = tmp_path / "scores"
    pq.write_table(pairs(900).drop_columns(["label"]), tmp_path / "pairs.parquet")
    score.run(
        ["--input", str(tmp_path / "pairs.parquet"), "--model", tiny.bundle,
         "--output", str(scores)]
    )  # fmt: skip
    label.run(["--input", str(scores), "--output", str(tmp_path / "page"), "--pairs", "60"])
    chosen = pq.read_table(tmp_path / "page/pairs.parquet")
    meant = truth(chosen.to_pandas()).tolist()
    keys = "".join(f"press('{each}');" for each in meant)
    steps = f"async () => {{ {keys} }}, async () => {{ {SAVED} }}"
    (tmp_path / "browser").mkdir()
    saved = tmp_path / "labels-3f.parquet"
    saved.write_bytes(base64.b64decode(drive(tmp_path / "browser", steps, pairs=chosen)["parquet"]))
    examples, bundle = str(tmp_path / "examples"), str(tmp_path / "bundle")
    manifest = preprocess.run(
        ["--input", str(saved), "--recipe", str(tiny.folder / "tiny.yaml"), "--output", examples]
    )
    train.run(["--examples", examples, "--output", bundle])
    done = score.run(
        ["--input", str(tmp_path / "pairs.parquet"), "--model", bundle,
         "--output", str(tmp_path / "again")]
    )  # fmt: skip

    assert manifest["rows_in"] == 60 and manifest["rows_rejected"] == 0
    assert manifest["rows_train"] + manifest["rows_eval"] == 60
    assert done["rows_scored"] == 900
    for table in (
        pd.read_parquet(saved), pq.read_table(saved).to_pandas(),
        duckdb.sql(f"select * from '{saved}'").df(), polars.read_parquet(saved).to_pandas(),
    ):  # fmt: skip
        assert table["label"].tolist() == meant
        assert table["sentence1"].tolist() == chosen["sentence1"].to_pylist()
        assert table["similarity"].tolist() == chosen["similarity"].to_pylist()
