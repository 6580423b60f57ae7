"""Named files are measured as the bundle will score them, and choose nothing."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from sklearn.metrics import average_precision_score, roc_auc_score

from model.dataset.examples import Examples, ExampleSet
from model.training.eval_inputs import measure_input, plan_eval_inputs
from pipelines.options.train_options import parse
from tests.model.tiny_recipes import recipe
from transforms.errors import UserError


def score(first, second):
    """Similar by how many bytes two strings have in common at their begin, of ten."""
    pairs = zip(first.numpy(), second.numpy(), strict=True)
    shared = [sum(a == b for a, b in zip(*pair, strict=False)) / 10 for pair in pairs]
    return {
        "similarity": tf.constant(shared, tf.float32),
        "label": tf.cast(tf.constant(shared) > 0.5, tf.int64),
    }


def examples(columns=("q1", "q2", "same")):
    return Examples(
        "nowhere", ExampleSet((), ()), ExampleSet((), ()), {"options": {"columns": list(columns)}}
    )


def test_a_named_file_is_measured_at_the_bundle_s_threshold(tmp_path):
    rng = np.random.default_rng(0)
    rows = 700  # more than are scored at once
    first = ["abcdefghij"] * rows
    cut = rng.integers(0, 11, rows)
    second = ["abcdefghij"[:n] + "#" * (10 - n) for n in cut]
    labels = (rng.integers(0, 11, rows) < cut).astype(int).tolist()
    second[3], labels[5] = None, 7  # a sentence that is not there, a label that is none
    pq.write_table(pa.table({"q1": first, "q2": second, "same": labels}), tmp_path / "dev.parquet")
    planned = plan_eval_inputs({"dev": str(tmp_path / "dev.parquet")}, examples())
    found = measure_input(recipe(), planned["dev"], score, 0.35)
    kept = [n for n in range(rows) if n not in (3, 5)]
    similar, labels = cut[kept] / 10, np.array(labels)[kept]
    assert (found["rows"], found["rows_rejected"]) == (rows - 2, 2)
    assert found["accuracy"] == pytest.approx(np.mean((similar >= 0.35) == labels))
    assert found["roc_auc"] == pytest.approx(roc_auc_score(labels, similar))
    assert found["pr_auc"] == pytest.approx(average_precision_score(labels, similar))


def test_what_cannot_be_measured_is_said_before_training(tmp_path):
    with pytest.raises(UserError, match="nowhere.parquet"):
        plan_eval_inputs({"dev": str(tmp_path / "nowhere.parquet")}, examples())
    with pytest.raises(UserError, match="--eval_input needs labels"):
        plan_eval_inputs({"dev": "x.parquet"}, examples(("q1", "q2", None)))
    assert plan_eval_inputs({}, examples(("q1", "q2", None))) == {}


def test_inputs_have_names(capsys):
    begin = ["--examples", "e", "--output", "o", "--eval_input"]
    options = parse([*begin, "dev=a.parquet", "new=gs://b/*.parquet"])
    assert options.eval_inputs == (("dev", "a.parquet"), ("new", "gs://b/*.parquet"))
    for wrong, message in [
        (["a.parquet"], "expected NAME=GLOB"),
        (["a=b", "a=c"], "name of its own"),
    ]:
        with pytest.raises(SystemExit):
            parse([*begin, *wrong])
        assert message in capsys.readouterr().err
