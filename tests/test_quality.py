"""The parts of the quality table, by hand."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import twinbeam
from benchmarks import quality
from benchmarks.quality import (
    baseline,
    cosines,
    held_out,
    measure,
    pairs,
    recipe_of,
    rows_of,
    spearman,
)
from benchmarks.quality_jobs import GAIN, JOBS, Job
from model.recipe.reading import load_recipe, read_recipe


def table(*rows: tuple) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["sentence1", "sentence2", "label"])


def test_no_measured_pair_is_trained_on_either_way_round():
    train = table(("a", "b", 1), ("c", "d", 0), ("e", "f", 1), ("g", "h", 0))
    measured = table(("d", "c", 0), ("a", "x", 1)), table(("e", "f", 1))
    assert held_out(train, measured).values.tolist() == [["a", "b", 1], ["g", "h", 0]]
    assert pairs(train) & pairs(table(("b", "a", 0))) == {("a", "b")}


def test_accuracy_compares_classes_as_text_and_correlations_compare_numbers():
    job = Job("twin-best", "train", {"dev": None})
    scores = pd.DataFrame({"label": ["1", "0", "1", "1"], "similarity_label": [1, 0, 0, 1]})
    assert measure(job, scores) == 0.75
    assert baseline(job, scores) == 0.75
    related = Job("cosine-mse", "train", {"dev": None}, metric="spearman", label="relatedness")
    scores = pd.DataFrame({"relatedness": [1.0, 2, 3, 4], "similarity": [0.1, 0.3, 0.2, 9]})
    # Ranks 1 2 3 4 and 1 3 2 4: 1 − 6 (1 + 1) / (4 · 15) = 0.8.
    assert measure(related, scores) == pytest.approx(0.8)
    assert baseline(related, scores) is None
    assert spearman(related, scores) == pytest.approx(0.8)


def test_ranks_are_compared_where_labels_are_numbers():
    job = Job("twin-best", "train", {"dev": None}, metric="roc_auc")
    scores = pd.DataFrame({"label": ["0", "1", "1"], "similarity": [0.2, 0.1, 0.9]})
    # Of the two pairs of a similar and another, one is in order.
    assert measure(job, scores) == 0.5
    # Ranks 2 1 3 and 1 2½ 2½ lie 0 −1 1 and −1 ½ ½ off their means: 0 − ½ + ½ = 0.
    assert spearman(job, scores) == pytest.approx(0.0)
    assert spearman(job, scores.assign(label=["entailment", "neutral", "neutral"])) is None


def test_a_recipe_takes_the_labels_of_its_data():
    (job,) = (job for job in JOBS if job.name == "bert-mean-cosine.sick_train")
    made, own = read_recipe(recipe_of(job), source="here"), load_recipe("bert-mean-cosine")
    assert made.label_range == (1, 5) and own.label_range == (0, 5)
    assert made.model_copy(update={"labels": own.labels}) == own


def test_a_variant_has_another_loss_and_a_teacher():
    job = Job(
        "bert-mean-cosine",
        "train",
        {"dev": None},
        parts={"loss": {"kind": "cosent", "matryoshka": [96]}, "distill": {"weight": 0.7}},
        variant="nested",
    )

    made = read_recipe(recipe_of(job, Path("out/teacher/bundle")), source="here")

    assert job.name == "bert-mean-cosine.train.nested"
    assert made.loss.kind == "cosent" and made.shorter == (96,)
    assert made.distill.teacher == ("out/teacher/bundle",) and made.distill.weight == 0.7
    teachers = {job.teacher for job in JOBS} - {None}
    assert teachers <= {job.name for job in JOBS}


def test_vectors_are_compared_by_their_cosine_whatever_the_recipe_compares(tmp_path, monkeypatch):
    vectors = {"a": (3.0, 4.0), "b": (4.0, 3.0), "c": (-8.0, 6.0)}
    bundle = SimpleNamespace(encode=lambda texts: np.array([vectors[text] for text in texts]))
    monkeypatch.setattr(twinbeam, "load", lambda folder: bundle)
    source = tmp_path / "dev.parquet"
    table(("a", "b", 1), ("a", "c", 0), ("b", "b", 1)).to_parquet(source)

    rows = cosines(source, tmp_path / "bundle")

    # (3 · 4 + 4 · 3) / (5 · 5); (−24 + 24) / (5 · 10).
    assert rows["similarity"].tolist() == pytest.approx([0.96, 0.0, 1.0])


def test_a_taught_job_names_the_bundle_of_its_teacher(tmp_path, monkeypatch):
    """What the command writes for the trainer, up to the first step that runs."""
    steps = []

    def stop(name, *flags):
        steps.append((name, flags))
        raise KeyboardInterrupt

    monkeypatch.setattr(quality, "run_step", stop)
    (job,) = (job for job in JOBS if job.variant == "taught")
    for name in (job.train, *job.measured):
        table(("a", f"of {name}", 1)).to_parquet(tmp_path / f"{name}.parquet")

    with pytest.raises(KeyboardInterrupt):
        quality.run_job(job, tmp_path, tmp_path / "out" / job.name, None)

    made = read_recipe((tmp_path / "out" / job.name / "recipe.yaml").read_text(), source="here")
    assert made.distill.teacher == (str(tmp_path / "out" / job.teacher / "bundle"),)
    assert [name for name, _ in steps] == ["preprocess"]


def test_a_quarter_of_the_floats_is_held_against_all_of_them():
    job = Job("bert-mean-cosine", "train", {"dev": 0.9}, metric="spearman", dimensions=96)
    result = {"rows": 10, "epochs": 2, "seconds": 60.0, "processor": 90.0, "spearman": {}}
    result |= {"values": {"dev": 0.8, "dev, first 96 floats": 0.79}, "baselines": {"dev": None}}

    wide, narrow = rows_of(job, result)

    assert "| 0.8000 | 0.9: **no** |" in wide
    assert "dev, first 96 floats" in narrow and "| 0.7900 | 0.784: yes |" in narrow


def test_every_job_names_a_recipe_once():
    assert len({job.name for job in JOBS}) == len(JOBS)
    for job in JOBS:
        load_recipe(job.recipe)


def test_the_row_says_whether_the_goal_is_reached():
    result = {"rows": 10, "epochs": 2, "seconds": 60.0, "processor": 90.0}
    result |= {"values": {"dev": 0.81, "valid": 0.9}, "baselines": {"dev": 0.5, "valid": None}}
    result |= {"spearman": {"dev": 0.6, "valid": None}}
    job = Job("twin-best", "train", {"dev": 0.83, "valid": 0.88})
    missed, reached = rows_of(job, result)
    assert "| 0.8100 | 0.83: **no** | 0.6000 | majority class 0.500 |" in missed
    assert "| 0.9000 | 0.88: yes |  |  | 2 | 1.0 | 1.5 |" in reached
    gained = Job("bert-mean-cosine", "train", {"dev": None}, metric="spearman", untrained=True)
    result |= {"values": {"dev": 0.85}, "untrained": {"dev": 0.8}, "spearman": {"dev": 0.85}}
    (row,) = rows_of(gained, result)
    assert f"| 0.8500 | {0.8 + GAIN:.4g}: yes | 0.8500 | off the shelf 0.8000 |" in row
    as_it_comes = Job("universal-cosine", None, {"dev": 0.8}, metric="roc_auc")
    result |= {"rows": 0, "epochs": 0, "baselines": {"dev": None}}
    (row,) = rows_of(as_it_comes, result)
    assert row.startswith("| `universal-cosine` | nothing | dev | roc_auc | 0.8500 | 0.8: yes |")
