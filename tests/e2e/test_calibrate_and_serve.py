"""What is done with a bundle after training: evaluate, calibrate, try, inspect, serve."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model.bundle import loading
from pipelines import calibrate, evaluate, inspect, score
from pipelines.trying import try_pairs
from transforms.errors import UserError


@pytest.fixture(scope="module")
def scores(tiny: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> str:
    output = str(tmp_path_factory.mktemp("scored") / "scores")
    score.run(
        [
            "--input",
            str(tiny.folder / "labelled.parquet"),
            "--model",
            tiny.bundle,
            "--output",
            output,
        ]
    )
    return output


@pytest.fixture(scope="module")
def fresh(tiny: SimpleNamespace, scores: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    output = str(tmp_path_factory.mktemp("fresh") / "bundle")
    calibrate.run(["--model", tiny.bundle, "--input", scores, "--output", output])
    return output


def scored(folder: str) -> pa.Table:
    return pa.concat_tables(pq.read_table(path) for path in sorted(Path(folder).glob("*.parquet")))


def test_a_calibrated_bundle_scores_calibrated_and_keeps_its_labels(
    tiny: SimpleNamespace, scores: str, fresh: str, tmp_path: Path
):
    pairs = str(tiny.folder / "labelled.parquet")
    score.run(["--input", pairs, "--model", fresh, "--output", str(tmp_path / "scores")])
    old, new = scored(scores), scored(str(tmp_path / "scores"))
    calibration = loading.verify(fresh)["calibration"]
    before = old["similarity"].to_numpy().astype(float).clip(1e-6, 1 - 1e-6)
    odds = np.log(before / (1 - before))
    expected = 1 / (1 + np.exp(-(calibration["slope"] * odds + calibration["offset"])))

    assert new["similarity"].to_numpy() == pytest.approx(expected, abs=1e-5)
    assert new["similarity_label"] == old["similarity_label"]
    assert (
        calibration["metrics"]["after"]["log_loss"] < calibration["metrics"]["before"]["log_loss"]
    )


def test_a_calibrated_bundle_is_symmetric(fresh: str):
    opened = loading.load(fresh)
    left = np.array(["refund please", "快递在哪里"], object)
    right = np.array(["where is my invoice?", "help"], object)
    forward, back = opened.score(left, right), opened.score(right, left)

    assert forward["similarity"] == pytest.approx(back["similarity"], abs=1e-6)


def test_calibration_refuses_what_does_not_go_together(
    tiny: SimpleNamespace, scores: str, fresh: str, tmp_path: Path
):
    argv = ["--input", scores, "--output", str(tmp_path / "b"), "--model"]

    with pytest.raises(UserError, match="calibrated already"):
        calibrate.run([*argv, fresh])
    with pytest.raises(UserError, match="--method platt, now isotonic.*--overwrite"):
        calibrate.run(
            ["--input", scores, "--output", fresh, "--model", tiny.bundle, "--method", "isotonic"]
        )


def test_the_same_calibration_again_does_nothing(
    tiny: SimpleNamespace, scores: str, fresh: str, capsys: pytest.CaptureFixture[str]
):
    before = {path: path.stat().st_mtime_ns for path in Path(fresh).rglob("*")}
    again = calibrate.run(["--input", scores, "--output", fresh, "--model", tiny.bundle])
    assert "is complete already" in capsys.readouterr().out
    assert again == json.loads(Path(fresh, "manifest.json").read_text())
    assert {path: path.stat().st_mtime_ns for path in Path(fresh).rglob("*")} == before


def test_an_evaluation_takes_its_meaning_from_the_bundle(
    tiny: SimpleNamespace, scores: str, tmp_path: Path
):
    found = evaluate.run(
        ["--input", scores, "--output", str(tmp_path / "report"), "--examples", tiny.examples,
         "--resamples", "10"]
    )  # fmt: skip
    unknown = [entry for entry in found["slices"] if entry["slice"] == "out-of-vocabulary"]

    assert found["lineage"]["bundle"]["recipe"] == "tiny"
    assert found["lineage"]["examples"]["rows_in"] == 600
    assert sum(entry["rows"] for entry in unknown) == found["rows"]
    assert "<h2>Training</h2>" in (tmp_path / "report/report.html").read_text()


def test_a_bundle_is_reported_and_tried(tiny: SimpleNamespace, capsys):
    found = inspect.run([tiny.bundle])
    try_pairs.run([tiny.bundle, "where is my refund?", "where is my refund?"])

    assert (found["kind"], found["sums"]) == ("bundle", "valid")
    # equal sentences have the distance 0, and exp(-0) = 1
    assert capsys.readouterr().out.splitlines()[-1] == "similarity 1.0000\tlabel 1"
    assert inspect.run([tiny.examples, "--json"])["sums"] == "valid"


def saved_model_cli(command: str, folder: str, request: str = "") -> str:
    # The tool as it is, with TensorFlow Text's operations, which TensorFlow Serving has built in.
    start = "import tensorflow_text; from tensorflow.python.tools import saved_model_cli as cli; "
    words = [
        command,
        "--dir",
        f"{folder}/saved_model",
        "--tag_set",
        "serve",
        "--signature_def",
        "score",
    ]
    words += ["--input_exprs", request] if request else []
    done = subprocess.run(
        [sys.executable, "-c", start + "cli.main()", *words],
        capture_output=True, text=True, timeout=250, check=True,
    )  # fmt: skip
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("which", ["plain", "calibrated"])
def test_tensorflow_serving_can_take_it_as_it_is(tiny: SimpleNamespace, fresh: str, which: str):
    folder = {"plain": tiny.bundle, "calibrated": fresh}[which]
    request = 'sentence1=[b"where is my refund?",b"help"];sentence2=[b"refund!",b"help"]'
    printed = saved_model_cli("show", folder) + saved_model_cli("run", folder, request)
    answered = printed.partition("Result for output key")[2]

    shapes = dict(re.findall(r"(?:in|out)puts\['(\w+)'\] tensor_info:\s+dtype: (\w+)", printed))
    answered = printed.partition("Result for output key")[2]

    assert shapes == {
        "sentence1": "DT_STRING", "sentence2": "DT_STRING", "similarity": "DT_FLOAT",
        "label": "DT_INT64",
    }  # fmt: skip
    assert printed.count("shape: (-1)") == 4
    similarity = re.search(r"similarity:\s*\[([^\]]*)\]", answered)[1].split()
    label = re.search(r"label:\s*\[([^\]]*)\]", answered)[1].split()
    opened = loading.load(folder)
    expected = opened.score(
        np.array(["where is my refund?", "help"], object), np.array(["refund!", "help"], object)
    )
    assert [float(value) for value in similarity] == pytest.approx(expected["similarity"], abs=1e-5)
    assert [int(value) for value in label] == expected["label"].tolist()


def test_metrics_of_a_calibrated_bundle_tell_both(fresh: str):
    metrics = json.loads(Path(fresh, "metrics.json").read_text())

    assert metrics["calibration"]["method"] == "platt"
    assert metrics["threshold"] == loading.verify(fresh)["threshold"]
