"""Scoring tells how far its pairs lie from the training data, and stops before the commit."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import score
from transforms.errors import RunError


def argv(tiny: SimpleNamespace, pairs: Path, output: Path) -> list[str]:
    return ["--input", str(pairs), "--model", tiny.bundle, "--output", str(output)]


@pytest.fixture
def strange(tmp_path: Path) -> Path:
    words = [f"Ωμέγα {'και ' * 12}άλφα {n}" for n in range(400)]
    pq.write_table(pa.table({"sentence1": words, "sentence2": words[::-1]}), tmp_path / "g.parquet")
    return tmp_path / "g.parquet"


def test_the_training_pairs_drift_little(tiny: SimpleNamespace, tmp_path: Path, capsys):
    manifest = score.run(argv(tiny, tiny.folder / "labelled.parquet", tmp_path / "scores"))

    assert set(manifest["drift"]) == {
        "drift", "sentence_length", "out_of_vocabulary", "similarity",
    }  # fmt: skip
    assert manifest["drift"]["sentence_length"] < 0.1
    printed = capsys.readouterr().out
    assert "drift from training:" in printed and f"{tmp_path}/scores/_drift.html" in printed


def test_other_pairs_drift_much_and_are_not_committed_if_asked(
    tiny: SimpleNamespace, strange: Path, tmp_path: Path
):
    flags = argv(tiny, strange, tmp_path / "scores")

    with pytest.raises(
        (RunError, RuntimeError), match="--max_drift 0.5 allows; not committed, see"
    ):
        score.run([*flags, "--max_drift", "0.5"])
    assert not (tmp_path / "scores/_SUCCESS").exists()
    assert not (tmp_path / "scores/_manifest.json").exists()
    assert "drift from training: much" in (tmp_path / "scores/_drift.html").read_text().lower()

    manifest = score.run(flags)  # goes on from the finished shards
    assert manifest["shards_this_run"] == 0
    assert manifest["drift"]["out_of_vocabulary"] > 0.5
    assert manifest["drift"]["sentence_length"] > 0.5
    assert json.loads((tmp_path / "scores/_manifest.json").read_text()) == manifest
