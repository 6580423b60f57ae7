from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from transforms.evaluation import binary_metrics, class_metrics, regression_metrics
from transforms.evaluation.bootstrap import intervals
from transforms.evaluation.class_metrics import ClassTally
from transforms.evaluation.histograms import ScoreHistogram
from transforms.evaluation.regression_metrics import JointHistogram


def joint(scores: np.ndarray, labels: np.ndarray) -> JointHistogram:
    return JointHistogram.count(scores, labels, score_range=(-1, 6), label_range=(0, 5))


def test_regression_agrees_with_scipy():
    random = np.random.default_rng(5)
    labels = random.integers(0, 26, 20_000) / 5
    scores = np.clip(labels + random.normal(0, 1.2, 20_000), -1, 6)
    whole = joint(scores[:7_000], labels[:7_000]) + joint(scores[7_000:], labels[7_000:])
    expected = {
        "pearson": stats.pearsonr(scores, labels).statistic,
        "spearman": stats.spearmanr(scores, labels).statistic,
        "mean_squared_error": ((scores - labels) ** 2).mean(),
        "mean_absolute_error": np.abs(scores - labels).mean(),
    }

    assert whole.rows == 20_000
    assert regression_metrics.measures(whole) == pytest.approx(expected, abs=1e-3)
    resampled = regression_metrics.measures(whole, whole.counts)  # from the middles of the cells
    assert resampled == pytest.approx(expected, abs=5e-3)


def test_regression_without_spread_is_nan():
    found = regression_metrics.measures(joint(np.array([1.0, 1.0]), np.array([2.0, 3.0])))

    assert np.isnan(found["pearson"]) and np.isnan(found["spearman"])
    assert found["mean_absolute_error"] == 1.5


def test_classes_agree_with_scikit_learn():
    random = np.random.default_rng(7)
    actual = random.choice(3, 8_000, p=[0.5, 0.3, 0.2])
    logits = random.normal(0, 1, (8_000, 3)) + 1.5 * np.eye(3)[actual]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    predicted = probabilities.argmax(axis=1)
    halves = (slice(None, 3_000), slice(3_000, None))
    left, right = (ClassTally.count(probabilities[s], actual[s], predicted[s]) for s in halves)
    tally = left + right
    expected = {
        "accuracy": sk.accuracy_score(actual, predicted),
        "macro_f1": sk.f1_score(actual, predicted, average="macro"),
        "log_loss": sk.log_loss(actual, probabilities),
    }

    assert class_metrics.measures(tally) == pytest.approx(expected, abs=1e-6)
    assert (tally.confusion == sk.confusion_matrix(actual, predicted)).all()
    per_class = class_metrics.class_measures(tally, ("a", "b", "c"))
    assert per_class["b"]["recall"] == pytest.approx(
        sk.recall_score(actual, predicted, average=None)[1]
    )
    assert per_class["c"]["roc_auc"] == pytest.approx(
        sk.roc_auc_score(actual == 2, probabilities[:, 2]), abs=1e-3
    )


def test_intervals_are_as_wide_as_theory_says():
    # Accuracy p over n rows has the standard error sqrt(p(1-p)/n): 0.8, 2,000 rows → 0.00894,
    # so the central 95 % span 2 · 1.96 · 0.00894 = 0.0351.
    actual = np.arange(2_000) % 2 == 0
    predicted = np.where(np.arange(2_000) % 10 < 8, actual, ~actual)
    histogram = ScoreHistogram.count(np.where(predicted, 0.7, 0.3), actual, predicted).occupied()

    found = intervals(
        histogram.counts, lambda counts: binary_metrics.measures(histogram, counts), resamples=800
    )

    low, high = found["accuracy"]
    assert low < 0.8 < high
    assert high - low == pytest.approx(0.0351, rel=0.1)


def test_an_interval_of_nothing_is_nan():
    assert np.isnan(intervals(np.zeros(2), lambda _: {"x": float("nan")}, resamples=3)["x"]).all()
