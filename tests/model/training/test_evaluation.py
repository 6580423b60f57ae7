from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from model.training.evaluation import EvaluatedPairs, measure, pearson, quality, spearman
from tests.model.tiny_recipes import recipe


def seen(similarity, labels, output=None) -> EvaluatedPairs:
    alike = np.asarray(similarity, np.float32)
    output = alike if output is None else np.asarray(output, np.float32)
    return EvaluatedPairs(output, np.asarray(labels, np.float32), alike, 0.5)


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
    output = [[2, 1, 0], [0, 1, 2], [0, 2, 1]]  # a, c, b: two of three
    assert quality(recipe(**softmax), seen([0, 0, 0], [0, 2, 2], output)) == pytest.approx(2 / 3)


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
