"""The training command in processes of its own: preprocess, two workers, one of them killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from model.bundle import loading
from tests.model.training.test_fit_processes import clusters

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 400
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
SHARDS = 5


def start(module, *flags, tf_config=None):
    environ = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if tf_config:
        environ["TF_CONFIG"] = json.dumps(tf_config)
    return subprocess.Popen(
        [sys.executable, "-m", f"pipelines.{module}", *map(str, flags)],
        cwd=ROOT, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(process):
    out, errors = process.communicate(timeout=LIMIT)
    return process.returncode, out, errors


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    """600 pairs, preprocessed into as many shards as `--train_shards` says."""
    folder = tmp_path_factory.mktemp("train")
    words = ["card", "loan", "bank", "limit", "rate", "term"]
    rows = [
        (f"{words[n % 6]} {n % 50} lost", f"{words[(n + n % 2) % 6]} {n % 50} gone", 1 - n % 2)
        for n in range(600)
    ]
    pairs = folder / "pairs.parquet"
    pd.DataFrame(rows, columns=["sentence1", "sentence2", "label"]).to_parquet(pairs)
    recipe = folder / "tiny.yaml"
    recipe.write_text(
        "name: tiny\ndescription: tests\nsource: made up\ntask: binary\n"
        'labels: {classes: ["0", "1"]}\ntext: {tokenizer: char}\nembedding: {dimensions: 8}\n'
        "encoder: {kind: bilstm, units: [6]}\ncomparison: {kind: manhattan}\n"
        "loss: {kind: binary_crossentropy}\n"
        "training: {epochs: 3, batch_size: 64, learning_rate: 0.01}\n"
    )
    code, _, errors = finish(
        start(
            "preprocess", "--input", pairs, "--recipe", recipe, "--output", folder / "examples",
            "--train_shards", SHARDS, "--eval_shards", 2,
        )
    )  # fmt: skip
    assert code == 0, errors
    return folder / "examples"


def both(examples, output, *flags):
    return [
        start("train", "--examples", examples, "--output", output, *flags, tf_config=config)
        for config in clusters()
    ]


def test_train_shards_is_what_training_reads(examples):
    manifest = json.loads((examples / "manifest.json").read_text())
    assert len(manifest["train_files"]) == len(list(examples.glob("train-*"))) == SHARDS
    assert len(manifest["eval_files"]) == 2


def test_two_workers_give_the_bundle_of_one_and_the_chief_alone_writes(examples, tmp_path):
    code, _, errors = finish(start("train", "--examples", examples, "--output", tmp_path / "one"))
    assert code == 0, errors
    log = tmp_path / "log.jsonl"
    ended = [finish(each) for each in both(examples, tmp_path / "two", "--log_json", log)]
    assert [code for code, _, _ in ended] == [0, 0], [errors[-500:] for _, _, errors in ended]
    (_, chief, _), (_, other, _) = ended
    assert "strategy: multi_worker, this is worker 0 of 2 workers, 2 replicas" in chief
    assert "bundle in" in chief and "bundle in" not in other
    assert [json.loads(line)["epoch"] for line in log.read_text().splitlines()] == [1, 2, 3]
    measured = []
    for name in ("one", "two"):
        loading.verify(str(tmp_path / name))
        measured.append(json.loads((tmp_path / name / "metrics.json").read_text()))
    alone, shared = measured
    assert shared["replicas"] == 2 and shared["rows_eval"] == alone["rows_eval"]
    for ours, theirs in zip(shared["history"], alone["history"], strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
        assert ours["eval_loss"] == pytest.approx(theirs["eval_loss"], rel=1e-3)
        assert ours["eval_accuracy"] == pytest.approx(theirs["eval_accuracy"], abs=0.02)


def test_workers_that_would_train_other_things_are_reported_so(examples, tmp_path):
    flags = [["--seed", "1"], ["--seed", "2"]]
    processes = [
        start("train", "--examples", examples, "--output", tmp_path / "b", *each, tf_config=config)
        for each, config in zip(flags, clusters(), strict=True)
    ]
    ended = [finish(process) for process in processes]
    assert [code for code, _, _ in ended] == [2, 2]
    assert all("the workers disagree" in errors for _, _, errors in ended)
