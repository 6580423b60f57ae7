"""Input files that a bundle was trained on are known again, by name and after a move."""

from __future__ import annotations

import json
from pathlib import Path

from pipelines.running.trained_on import (
    format_seen,
    inputs_trained_on,
    read_metrics,
    rows_trained_on,
)


def test_files_are_known_by_name_or_by_fingerprint(tmp_path: Path):
    about = {"trained_on": {"pairs/a.parquet": "aa", "pairs/b.parquet": "bb"}}
    (tmp_path / "metrics.json").write_text(json.dumps(about))
    inputs = {"pairs/a.parquet": "changed", "moved/b.parquet": "bb", "pairs/c.parquet": "cc"}
    assert inputs_trained_on(read_metrics(str(tmp_path)), inputs) == [
        "pairs/a.parquet",
        "moved/b.parquet",
    ]


def test_bundles_of_before_know_nothing(tmp_path: Path):
    assert inputs_trained_on(read_metrics(str(tmp_path)), {"a": "aa"}) == []
    (tmp_path / "metrics.json").write_text("{}")
    assert inputs_trained_on(read_metrics(str(tmp_path)), {"a": "aa"}) == []


def test_rows_are_those_of_the_scores_alone():
    manifest = {
        "inputs_trained_on": ["a.parquet"],
        "files": [
            {"name": "a.parquet", "rows": 7, "source": "a.parquet"},
            {"name": "_rejects/a.parquet.rejected", "rows": 2, "source": "a.parquet"},
            {"name": "b.parquet", "rows": 5, "source": "b.parquet"},
        ],
    }
    assert rows_trained_on(manifest) == 7
    assert rows_trained_on({"files": manifest["files"]}) == 0


def test_the_line_names_one_of_them():
    assert format_seen(["a"]).startswith("the bundle was trained on a: ")
    assert "a and 1,200 more:" in format_seen(["a"] * 1_201)
