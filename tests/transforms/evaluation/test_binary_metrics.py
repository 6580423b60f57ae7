from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from transforms.evaluation import binary_metrics
from transforms.evaluation.histograms import BINS, ScoreHistogram, edges, place


def scores(kind: str, rows: int = 40_000) -> tuple[np.ndarray, np.ndarray]:
    """Similarities and labels: spread out, crowded next to 0 as exp(−distance) is, or next to 1."""
    random = np.random.default_rng(3)
    labels = random.random(rows) < 0.3
    logit = random.normal(np.where(labels, 1.0, -1.0), 1.5)
    if kind == "crowded_low":
        return np.exp(-np.abs(6 - logit) * 1.5).astype(np.float32), labels
    if kind == "crowded_high":
        return (1 / (1 + np.exp(-(logit + 8)))).astype(np.float32), labels
    return (1 / (1 + np.exp(-logit))).astype(np.float32), labels


def calibration_error(similarity: np.ndarray, labels: np.ndarray) -> float:
    step = np.minimum((similarity * 10).astype(int), 9)
    return sum(
        abs(similarity[step == k].mean(dtype=float) - labels[step == k].mean()) * (step == k).mean()
        for k in range(10)
        if (step == k).any()
    )


@pytest.mark.parametrize("kind", ["spread", "crowded_low", "crowded_high"])
def test_measures_agree_with_scikit_learn_to_a_thousandth(kind: str):
    similarity, labels = scores(kind)
    predicted = similarity >= 0.4
    expected = {
        "accuracy": sk.accuracy_score(labels, predicted),
        "precision": sk.precision_score(labels, predicted, zero_division=np.nan),
        "recall": sk.recall_score(labels, predicted),
        "f1": sk.f1_score(labels, predicted),
        "roc_auc": sk.roc_auc_score(labels, similarity),
        "pr_auc": sk.average_precision_score(labels, similarity),
        "log_loss": sk.log_loss(labels, similarity),
        "brier": sk.brier_score_loss(labels, similarity),
        "calibration_error": calibration_error(similarity, labels),
    }

    found = binary_metrics.measures(ScoreHistogram.count(similarity, labels, predicted))

    assert found == pytest.approx(expected, abs=1e-3, nan_ok=True)


def test_four_scores_by_hand():
    # similarity 0.9 0.8 0.3 0.2, actual 1 0 1 0, predicted 1 1 0 0: every cell of the confusion
    # holds one. Of the four (positive, negative) pairs 3 are in order: 0.9>0.8, 0.9>0.2, 0.3>0.2.
    histogram = ScoreHistogram.count(
        np.array([0.9, 0.8, 0.3, 0.2]), np.array([1, 0, 1, 0]), np.array([1, 1, 0, 0])
    )
    found = binary_metrics.measures(histogram)

    assert binary_metrics.confusion(histogram) == [[1, 1], [1, 1]]
    assert found["accuracy"] == found["precision"] == found["recall"] == found["f1"] == 0.5
    assert found["roc_auc"] == 0.75
    assert found["pr_auc"] == pytest.approx((1 + 2 / 3) / 2)  # precision 1/1, then 2/3
    assert found["brier"] == pytest.approx((0.01 + 0.64 + 0.49 + 0.04) / 4)
    assert found["log_loss"] == pytest.approx(-np.log([0.9, 0.2, 0.3, 0.8]).mean())


def test_what_has_no_meaning_is_nan_and_no_error():
    only_negatives = ScoreHistogram.count(np.array([0.2, 0.4]), np.zeros(2), np.zeros(2))
    found = binary_metrics.measures(only_negatives)

    assert found["accuracy"] == 1
    assert all(np.isnan(found[name]) for name in ("precision", "recall", "roc_auc", "pr_auc"))
    assert np.isnan(binary_metrics.measures(ScoreHistogram.empty())["accuracy"])


def test_thresholds_show_the_confusion_that_a_cut_would_give():
    similarity, labels = scores("spread", 5_000)
    table = binary_metrics.threshold_table(ScoreHistogram.count(similarity, labels, labels))

    assert [table[0]["false_neg"], table[-1]["true_pos"]] == [0, 0]
    for entry in table[::37]:
        predicted = similarity >= entry["threshold"]
        expected = sk.confusion_matrix(labels, predicted).ravel()
        found = [entry[name] for name in ("true_neg", "false_pos", "false_neg", "true_pos")]
        assert np.abs(np.array(found) - expected).max() <= 1  # a score may lie on the edge itself


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1, width=32), st.booleans(), st.booleans()), max_size=30),
    st.integers(0, 30),
)
def test_parts_add_up_to_the_whole(rows: list, cut: int):
    table = np.array(rows, float).reshape(-1, 3)
    whole, left, right = (
        ScoreHistogram.count(part[:, 0], part[:, 1] > 0, part[:, 2] > 0)
        for part in (table, table[:cut], table[cut:])
    )
    summed = right + left

    assert (summed.counts == whole.counts).all()
    assert summed.similarity == pytest.approx(whole.similarity)
    assert summed.log_loss == pytest.approx(whole.log_loss)


def test_bins_rise_with_the_similarity_and_lie_between_their_edges():
    similarity = np.sort(np.r_[0, 1, np.random.default_rng(1).random(1_000), np.logspace(-12, 0)])
    bins = place(similarity)

    assert (np.diff(bins) >= 0).all() and bins[0] == 0 and bins[-1] == BINS - 1
    assert (edges()[bins] <= similarity + 1e-9).all()
    assert (similarity <= edges()[bins + 1] + 1e-9).all()
