from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from model.training.evaluation import (
    EvaluatedPairs,
    better,
    evaluate,
    measure,
    monitored,
    pearson,
    quality,
    spearman,
)
from tests.model.tiny_recipes import recipe
from transforms.errors import UserError


def seen(similarity, labels, predicted=None, loss=0.5) -> EvaluatedPairs:
    labels, similarity = np.asarray(labels, np.float32), np.asarray(similarity, np.float32)
    return EvaluatedPairs(labels, similarity, loss, predicted and np.asarray(predicted))


MARGIN = {"comparison": {"kind": "euclidean"}, "loss": {"kind": "contrastive"}}


@pytest.mark.parametrize("changes", [{}, MARGIN])
def test_an_epoch_is_judged_at_the_threshold_that_suits_it(changes):
    # All above 0.5, as margin losses leave them. The first epoch parts 0.7 | 0.8 without a
    # mistake; at 0.5 only 2 of its 4 pairs are told right. The second tells 3 of 4 at 0.5, and no
    # cut tells more: the first is the better.
    first = seen([0.9, 0.8, 0.7, 0.6], [1, 1, 0, 0])
    second = seen([0.9, 0.4, 0.7, 0.3], [1, 1, 0, 0])
    rules = recipe(**changes)
    assert quality(rules, first) == 1.0
    assert quality(rules, second) == 0.75
    threshold, measures = measure(rules, first, "accuracy")
    assert threshold == pytest.approx(0.75)
    assert (measures["eval_accuracy"], measures["eval_accuracy_at_half"]) == (1.0, 0.5)


def test_classes_are_judged_by_the_greatest_output():
    softmax = {
        "task": "classes",
        "labels": {"classes": ["a", "b", "c"]},
        "comparison": {"kind": "concat"},
        "loss": {"kind": "softmax_crossentropy"},
    }
    found = seen([0, 0, 0], [0, 2, 2], predicted=[0, 2, 1])  # two of three
    assert quality(recipe(**softmax), found) == pytest.approx(2 / 3)
    # F1: of class 0 one of one, 1; of 1 nothing, 0; of 2 one of two found, 2·1/(1 + 2) = 2/3.
    softmax["training"] = {"monitor": "macro_f1"}
    assert quality(recipe(**softmax), found) == pytest.approx((1 + 0 + 2 / 3) / 3)


def test_correlations_are_scipys():
    rng = np.random.default_rng(0)
    left = np.round(rng.normal(size=50), 1)  # rounded, so that ranks are shared
    right = left + rng.normal(size=50)
    assert pearson(left, right) == pytest.approx(stats.pearsonr(left, right).statistic)
    assert spearman(left, right) == pytest.approx(stats.spearmanr(left, right).statistic)
    assert pearson(left, np.ones(50)) == 0.0
    numbers = {
        "task": "regression",
        "labels": {"minimum": 1, "maximum": 5},
        "loss": {"kind": "mse"},
    }
    assert quality(recipe(**numbers), seen(left, right)) == pytest.approx(
        stats.pearsonr(left.astype(np.float32), right.astype(np.float32)).statistic, abs=1e-6
    )


# One positive in fifty. The first epoch ranks it second of all, the other one last; no cut of
# either tells more pairs right than calling all of them different: 0.98.
RARE = np.r_[1, np.zeros(49)]
SECOND = np.r_[0.9, 0.95, np.linspace(0.1, 0.5, 48)]
LAST = np.r_[0.05, 0.95, np.linspace(0.1, 0.5, 48)]


@pytest.mark.parametrize(
    ("training", "name", "second", "last"),
    [
        ({}, "accuracy", 0.98, 0.98),
        # From 0.92 on only the 0.95 is similar, wrongly, and the positive is missed: 48 of 50.
        ({"threshold_rule": "fixed=0.92"}, "accuracy", 0.96, 0.96),
        # At the cut below the second: it is found, with one alarm: 2·1/(2·1 + 1) = 2/3. The last
        # is found among fifty: 2/(1 + 50).
        ({"threshold_rule": "f1"}, "f1", 2 / 3, 2 / 51),
        ({"monitor": "f1"}, "f1", 2 / 3, 2 / 51),
        # 49 of 49 negatives or all but one, and the positive: (1 + 48/49) / 2; calling all
        # different: (0 + 1) / 2.
        ({"threshold_rule": "balanced_accuracy"}, "balanced_accuracy", 97 / 98, 0.5),
        ({"monitor": "roc_auc"}, "roc_auc", 48 / 49, 0.0),
        ({"monitor": "pr_auc"}, "pr_auc", 1 / 2, 1 / 50),
        ({"threshold_rule": "recall>=0.9"}, "rule_score", 1 + 1 / 2, 1 + 1 / 50),
    ],
)
def test_with_few_positives_an_epoch_is_chosen_by_its_rule_or_monitor(training, name, second, last):
    rules = recipe(training=training)
    assert monitored(rules) == f"eval_{name}"
    assert quality(rules, seen(SECOND, RARE)) == pytest.approx(second)
    assert quality(rules, seen(LAST, RARE)) == pytest.approx(last)


def test_every_monitor_is_scikit_learn_s_or_scipy_s():
    from sklearn import metrics

    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 60).astype(np.float32)
    similar = np.clip(0.5 * labels + rng.random(60), 0, 1).astype(np.float32)
    cuts = [similar >= cut for cut in [*similar, 2]]
    accuracies = [metrics.accuracy_score(labels, cut) for cut in cuts]
    expected = {
        "accuracy": max(accuracies),
        "f1": max(metrics.f1_score(labels, cut) for cut in cuts),
        "pr_auc": metrics.average_precision_score(labels, similar),
        "roc_auc": metrics.roc_auc_score(labels, similar),
        "loss": 0.5,
        "pearson": stats.pearsonr(similar, labels).statistic,
        "spearman": stats.spearmanr(similar, labels).statistic,
    }
    for monitor, value in expected.items():
        rules = recipe(training={"monitor": monitor})
        assert quality(rules, seen(similar, labels)) == pytest.approx(value, abs=1e-6), monitor
        assert better(rules, 0.3, than=0.4) == (monitor == "loss")


def test_a_loss_that_is_lower_is_better_and_a_monitor_must_fit_the_task():
    numbers = {"task": "regression", "labels": {"minimum": 1, "maximum": 5}}
    numbers["loss"] = {"kind": "mse"}
    with pytest.raises(UserError, match=r"training.monitor: .* pearson, spearman, loss; .*'f1'"):
        recipe(**numbers, training={"monitor": "f1"})
    assert monitored(recipe(**numbers, training={"monitor": "spearman"})) == "eval_spearman"
    with pytest.raises(UserError, match="training.monitor: .*'accuracy', 'f1', 'pr_auc'"):
        recipe(training={"monitor": "auc"})


def test_the_loss_of_given_triplets_is_the_mean_of_the_triplets():
    # Two triplets with losses 1 and 3 are four pairs here; the mean is 2.
    rules = recipe(comparison={"kind": "euclidean"}, loss={"kind": "triplet", "mining": "given"})
    part = {
        "similarity": [0.5, 0.5, 0.1, 0.1],
        "label": [1, 1, 0, 0],
        "loss": [1, 3, 0, 0],
        "weight": [1, 1, 1, 1],
    }
    part = {name: tf.constant(values, tf.float32) for name, values in part.items()}
    assert evaluate(rules, lambda batch: part, iter([None]), 1).loss == 2
    pairs = recipe(comparison={"kind": "euclidean"}, loss={"kind": "triplet"})
    assert evaluate(pairs, lambda batch: part, iter([None]), 1).loss == 1
