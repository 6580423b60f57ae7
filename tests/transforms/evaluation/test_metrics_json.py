"""What metrics.json says beside the measures: warnings, baselines, slices, pictures."""

from __future__ import annotations

import math
from collections import Counter
from datetime import date, datetime, time

import numpy as np
import pyarrow as pa
import pytest
from sklearn import metrics as sk

from transforms.evaluation.class_metrics import ClassTally
from transforms.evaluation.evaluate_shards import ALL, PRIOR, EvaluationCounts
from transforms.evaluation.histograms import ScoreHistogram
from transforms.evaluation.metrics_json import (
    clean,
    majority_metrics,
    pictures,
    results,
    slice_table,
    warnings,
)
from transforms.evaluation.regression_metrics import JointHistogram
from transforms.evaluation.slices import can_be_slice


def found(**changes) -> dict:
    good = {
        "metrics": {"accuracy": 0.9, "calibration_error": 0.05},
        "intervals": {"accuracy": (0.85, 0.95)},
        "baselines": {"majority": {"metrics": {"accuracy": 0.84}}},
        "rows_skipped": 0,
        "skipped_by_reason": {},
    }
    return good | changes


WARNINGS: dict[str, tuple[dict, list[str]]] = {
    "nothing": ({}, []),
    "off": (
        {"metrics": {"accuracy": 0.9, "calibration_error": 0.051}},
        ["similarities are no probabilities here: off by 0.051 on average"],
    ),
    "no error known": ({"metrics": {"accuracy": 0.9}}, []),
    "as good as a baseline": (
        {"baselines": {"sentence_prior": {"metrics": {"accuracy": 0.85}}}},
        ["accuracy 0.900 is not clearly above the baseline sentence prior (0.850)"],
    ),
    "a baseline of another measure": (
        {"baselines": {"sentence_prior": {"metrics": {"pearson": 0.99}}}},
        [],
    ),
    "no interval": ({"intervals": {}}, []),
    "skipped": (
        {"rows_skipped": 3, "skipped_by_reason": {"label_null": 1, "label_invalid": 2}},
        ["3 rows could not be judged (1 label_null, 2 label_invalid)"],
    ),
}


@pytest.mark.parametrize("name", WARNINGS)
def test_warnings(name: str):
    changes, wanted = WARNINGS[name]
    lines = warnings(found(**changes))
    assert len(lines) == len(wanted)
    assert all(one.startswith(start) for one, start in zip(lines, wanted, strict=True))


@pytest.mark.parametrize("label", [0, 1])
def test_the_commonest_label_of_two_as_scikit_learn_measures_it(label: int):
    actual = np.array([label] * 7 + [1 - label] * 3)
    always = np.full(10, label)
    measures = majority_metrics(0.7, label, 2)

    assert measures["accuracy"] == pytest.approx(sk.accuracy_score(actual, always))
    assert measures["f1"] == pytest.approx(sk.f1_score(actual, always, zero_division=0))
    assert measures["recall"] == sk.recall_score(actual, always)
    assert measures["roc_auc"] == 0.5
    if label:
        assert measures["precision"] == pytest.approx(sk.precision_score(actual, always))
    else:
        assert math.isnan(measures["precision"])


def test_the_commonest_label_of_three():
    actual, always = np.array([1] * 6 + [0] * 3 + [2]), np.ones(10)
    assert majority_metrics(0.6, 1, 3) == pytest.approx(
        {
            "accuracy": 0.6,
            "macro_f1": sk.f1_score(actual, always, average="macro", zero_division=0),
        }
    )


def three(rows: int, seed: int = 1) -> ClassTally:
    random = np.random.default_rng(seed)
    chances = random.dirichlet([1, 1, 1], rows)
    return ClassTally.count(chances, random.integers(0, 3, rows), chances.argmax(axis=1))


def test_slices_are_in_the_order_of_their_numbers_and_empty_ones_are_left_out():
    values = ["31-60", "9-16", "m²", "1-8", "17-30"]
    tallies = {("length", value): three(5) for value in values}
    tallies |= {ALL: three(9), PRIOR: three(9), ("channel", "web"): three(4)}
    tallies["length", "61-"] = ClassTally.count(
        np.zeros((0, 3)), np.zeros(0, int), np.zeros(0, int)
    )
    listed = slice_table(tallies, 0)

    assert [(one["slice"], one["value"], one["rows"]) for one in listed] == [
        ("channel", "web", 4), ("length", "1-8", 5), ("length", "9-16", 5), ("length", "17-30", 5),
        ("length", "31-60", 5), ("length", "m²", 5),
    ]  # fmt: skip
    assert all(0 <= one["metrics"]["accuracy"] <= 1 for one in listed)


def test_pictures_of_each_task():
    random = np.random.default_rng(2)
    chance, label = random.random(500), random.integers(0, 2, 500)
    score, number = random.uniform(0, 1, 500), random.uniform(0, 5, 500)
    joint = JointHistogram.count(score, number, score_range=(0, 1), label_range=(0, 5))
    binary = ScoreHistogram.count(chance, label, (chance > 0.5).astype(int))

    assert set(pictures(binary, ("0", "1"))) == {
        "confusion", "thresholds", "calibration", "distribution",
    }  # fmt: skip
    classes = pictures(three(50), ("a", "b", "c"))
    assert set(classes) == {"confusion", "classes_measured"}
    assert np.sum(classes["confusion"]) == 50 and set(classes["classes_measured"]) == set("abc")
    (name, plot), *others = pictures(joint, ()).items()
    assert name == "scatter" and not others
    grid, _, _ = np.histogram2d(score, number, bins=40, range=[[0, 1], [0, 5]])
    assert np.abs(np.array(plot["rows"]) - grid).sum() < 25, "but for what lies on a line"
    assert plot["score_range"] == pytest.approx([0, 1]) and plot["label_range"] == [0, 5]


def test_the_content_of_a_whole_evaluation():
    tallies = {ALL: three(60), PRIOR: three(60, 2), ("channel", "web"): three(20)}
    skipped = Counter({"label_null": 2, "label_invalid": 1})
    content = results(EvaluationCounts(tallies, skipped), ("a", "b", "c"), resamples=5)
    share = tallies[ALL].confusion.sum(axis=1)

    assert (content["rows"], content["rows_skipped"]) == (60, 3)
    assert list(content["skipped_by_reason"]) == ["label_invalid", "label_null"]
    assert content["baselines"]["majority"]["label"] == "abc"[int(share.argmax())]
    assert content["baselines"]["majority"]["metrics"]["accuracy"] == pytest.approx(
        share.max() / 60
    )
    assert "accuracy" in content["baselines"]["sentence_prior"]["metrics"]
    assert [one["value"] for one in content["slices"]] == ["web"]
    assert any(one.startswith("3 rows could not be judged") for one in content["warnings"])
    low, high = content["intervals"]["accuracy"]
    assert low <= content["metrics"]["accuracy"] <= high


def test_numbers_without_meaning_are_null_and_the_last_digits_go():
    given = {"a": (math.nan, [math.inf, 1 / 3]), "b": {"c": 2, "d": "nan", "e": True}}
    assert clean(given) == {"a": [None, [None, 0.333333333]], "b": {"c": 2, "d": "nan", "e": True}}


@pytest.mark.parametrize(
    ("values", "fits"),
    [
        (["a"], True), ([b"a"], True), ([1], True), ([1.5], True), ([True], True), ([None], True),
        ([date(2020, 1, 1)], True), ([time(1)], True), ([datetime(2020, 1, 1)], True),
        ([[1]], False), ([{"a": 1}], False),
    ],
)  # fmt: skip
def test_what_can_be_a_slice(values: list, fits: bool):
    column = pa.array(values)
    assert can_be_slice(column.type) is fits
    assert can_be_slice(column.dictionary_encode().type if fits else column.type) is fits
