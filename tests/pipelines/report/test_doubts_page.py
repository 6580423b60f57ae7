from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import doubts, evaluate
from pipelines.report.doubts_page import doubts_page, read_doubts
from tests.scored_pairs import scored_table
from transforms.errors import UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """a = b = c ≠ a, and equal sentences that are labelled apart, among other pairs."""
    home = tmp_path_factory.mktemp("doubts")
    rows = [("a", "b", 1), ("b", "c", 1), ("c", "a", 0), ("<i>x</i>", "y", 0), ("y", "<i>x</i>", 1)]
    rows += [(f"s{n}", f"t{n}", n % 2) for n in range(30)]
    one, other, label = zip(*rows, strict=True)
    table = pa.table(
        {"id": [f"r{n}" for n in range(len(rows))], "sentence1": one, "sentence2": other,
         "label": label}
    )  # fmt: skip
    pq.write_table(table, home / "labelled.parquet")
    doubts.run(
        ["--input", str(home / "labelled.parquet"), "--id_column", "id",
         "--output", str(home / "out")]
    )  # fmt: skip
    return home / "out"


def test_what_is_shown(folder: Path):
    shown = read_doubts(str(folder), 20)

    assert shown["counts"]["in_contradictions"] == 3 and shown["counts"]["labelled_apart"] == 2
    assert [[row["row"] for row in rows] for rows in shown["triangles"]] == [["r1", "r0", "r2"]]
    assert {row["row"] for row in shown["apart"]} == {"r3", "r4"}
    assert len(shown["first"]) == 20
    page = doubts_page(shown)
    assert "&lt;i&gt;x" in page and "<i>" not in page
    assert "Contradictions" in page and "with different labels" in page
    assert read_doubts(str(folder), 0)["first"] == []


def test_in_the_report_of_an_evaluation(folder: Path, tmp_path: Path):
    pq.write_table(scored_table(200), tmp_path / "scores.parquet")
    flags = ["--input", str(tmp_path / "scores.parquet"), "--resamples", "20"]
    found = evaluate.run([*flags, "--doubts", str(folder), "--output", str(tmp_path / "report")])
    page = (tmp_path / "report/report.html").read_text()
    assert "<h2>Suspect labels</h2>" in page and "not the same?" in page
    assert json.loads((tmp_path / "report/metrics.json").read_text())["doubts"] == found["doubts"]
    with pytest.raises(UserError, match="other options or inputs"):
        evaluate.run([*flags, "--output", str(tmp_path / "report")])
    evaluate.run(
        [*flags, "--doubts", str(folder), "--redact", "--output", str(tmp_path / "redacted")]
    )
    assert "not the same?" not in (tmp_path / "redacted/report.html").read_text()
    with pytest.raises(UserError, match="holds no doubts.json; expected the --output of twinbeam"):
        evaluate.run([*flags, "--doubts", str(tmp_path), "--output", str(tmp_path / "other")])
