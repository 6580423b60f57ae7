from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import accuracy_score, roc_auc_score

from model.bundle import export
from model.recipe.reading import parse_recipe
from pipelines import train
from tests.model.tiny_examples import make_pairs, write_examples
from tests.model.training.test_fitting import TINY, recipe


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    rules = recipe(epochs=2)
    return write_examples(tmp_path_factory.mktemp("train") / "examples", rules.to_yaml())


@pytest.fixture
def exported(monkeypatch):
    """What would go into the bundle; tests of the bundle have a real one."""
    kept = {}

    def keep(staging, **parts):
        folder = staging.output
        kept.update(parts)
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / "manifest.json").write_text("{}")

    monkeypatch.setattr(export, "export_bundle", keep)
    return kept


@pytest.fixture
def main(monkeypatch, capsys):
    def call(*flags):
        monkeypatch.setattr("sys.argv", ["train", *map(str, flags)])
        code = train.main()
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


def scalars(folder):
    """Name → values, read as TensorBoard reads them."""
    found = {}
    (path,) = folder.glob("events.out.tfevents.*")
    for record in tf.data.TFRecordDataset(str(path)):
        for value in tf.compat.v1.Event.FromString(record.numpy()).summary.value:
            assert value.metadata.plugin_data.plugin_name == "scalars"
            found.setdefault(value.tag, []).append(float(tf.make_ndarray(value.tensor)))
    return found


def test_metrics_are_those_of_the_kept_similarities(examples, exported, tmp_path, main):
    log, boards = tmp_path / "log.jsonl", tmp_path / "boards"
    code, out, errors = main(
        "--examples", examples, "--output", tmp_path / "bundle", "--log_json", log,
        "--tensorboard", boards,
    )  # fmt: skip
    assert code == 0, errors
    metrics = exported["metrics"]
    assert metrics["threshold"] == exported["threshold"]
    assert (metrics["epochs"], metrics["seed"], metrics["global_batch_size"]) == (2, 5, 32)
    assert (metrics["rows_train"], metrics["rows_eval"]) == (230, 50)
    assert metrics["pairs_per_second"] > 0 and metrics["peak_memory_mb"] > 0

    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert lines == metrics["history"] and [line["epoch"] for line in lines] == [1, 2]
    assert scalars(boards)["eval_accuracy"] == pytest.approx(
        [line["eval_accuracy"] for line in lines]
    )

    lines = out.splitlines()
    assert lines[0] == "strategy: one CPU (0 GPUs, no cluster)"
    assert lines[1].startswith("epoch 1/2: loss ")
    assert lines[-1].startswith(f"2 epochs, best {metrics['best_epoch']}, eval accuracy ")
    assert lines[-1].endswith(f"bundle in {tmp_path / 'bundle'}")


def test_accuracy_and_area_are_scikit_learns(examples, exported, tmp_path, monkeypatch):
    from model.training import fitting

    seen = {}

    def spy(*arguments, fit=fitting.fit, **options):
        result = fit(*arguments, **options)
        seen["evaluation"] = result.evaluation
        return result

    monkeypatch.setattr(fitting, "fit", spy)
    metrics = train.run(
        ["--examples", str(examples), "--output", str(tmp_path / "bundle"), "--epochs", "1"]
    )
    similarities, labels = seen["evaluation"].similarity, seen["evaluation"].labels
    assert metrics["eval_roc_auc"] == pytest.approx(roc_auc_score(labels, similarities))
    predicted = similarities >= np.float32(metrics["threshold"])
    assert metrics["eval_accuracy"] == pytest.approx(accuracy_score(labels, predicted))
    assert metrics["eval_accuracy_at_half"] == pytest.approx(
        accuracy_score(labels, similarities >= 0.5)
    )


def test_flags_come_before_the_recipe(examples, exported, tmp_path):
    metrics = train.run(
        ["--examples", str(examples), "--output", str(tmp_path / "bundle"), "--epochs", "1",
         "--seed", "9", "--global_batch_size", "115"]
    )  # fmt: skip
    assert (metrics["epochs"], metrics["seed"], metrics["global_batch_size"]) == (1, 9, 115)
    assert exported["recipe"].training.seed == 9


def test_an_output_that_is_there_is_left_alone(examples, exported, tmp_path, main):
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "manifest.json").write_text("{}")
    code, _, errors = main("--examples", examples, "--output", bundle)
    assert (
        code == 2
        and "manifest.json is not the manifest of a bundle" in errors
        and errors.count("\n") == 1
    )
    assert not exported
    (bundle / "manifest.json").rename(bundle / "photo.jpg")
    code, _, errors = main("--examples", examples, "--output", bundle, "--overwrite")
    assert code == 2 and "is not a bundle" in errors


def test_unusable_examples_are_reported_in_one_line(examples, exported, tmp_path, main):
    cases = {
        "is not a finished examples folder": lambda folder: (folder / "_SUCCESS").unlink(),
        "is missing": lambda folder: next(folder.glob("train-*")).unlink(),
        "has no eval examples": lambda folder: (folder / "manifest.json").write_text(
            (folder / "manifest.json").read_text().replace("eval_files", "no")
        ),
        "recipe": lambda folder: (folder / "recipe.yaml").write_text("name: x"),
    }
    for number, (printed, spoil) in enumerate(cases.items()):
        folder = Path(shutil.copytree(examples, tmp_path / str(number)))
        spoil(folder)
        code, _, errors = main("--examples", folder, "--output", tmp_path / "bundle")
        assert code == 2 and printed in errors and errors.count("\n") == 1, errors
    assert not exported


def test_recipes_are_listed_with_a_line_each(main):
    code, out, _ = main("--list_recipes")
    assert code == 0
    assert any(line.startswith("char-bilstm-manhattan ") for line in out.splitlines())


def test_pretraining_and_word_vectors_see_the_training_part_alone(tmp_path, exported, monkeypatch):
    from model.initial import start_vectors
    from model.training import pretraining

    parts = {
        "encoder": {"kind": "bilstm", "units": [4]},
        "embedding": {"dimensions": 8, "vectors": "corpus"},
        "training": {"epochs": 1, "pretrain_epochs": 1},
    }
    rules = parse_recipe(TINY | parts, source="here")
    examples = write_examples(tmp_path / "examples", rules.to_yaml())
    seen = {}

    def pretrain(encoder, sentences, **options):
        seen["pretraining"] = set(sentences)

    def corpus_vectors(sentences, dimensions, *, seed):
        seen["vectors"] = {tuple(map(int, ids)) for ids in sentences}
        return {}

    monkeypatch.setattr(pretraining, "pretrain", pretrain)
    monkeypatch.setattr(start_vectors, "corpus_vectors", corpus_vectors)
    train.run(["--examples", str(examples), "--output", str(tmp_path / "bundle")])
    pairs = make_pairs(rows=230, seed=len("train"))
    trained_on = {tuple(side) for first, second, _ in pairs for side in (first, second)}
    assert seen == {"pretraining": trained_on, "vectors": trained_on}
