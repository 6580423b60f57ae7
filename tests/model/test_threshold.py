from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from model.threshold import RULES, choose_threshold

SKLEARN = {
    "accuracy": accuracy_score,
    "balanced_accuracy": lambda labels, predicted: (
        balanced_accuracy_score(labels, predicted) if 0 < labels.sum() < len(labels) else None
    ),
    "f1": lambda labels, predicted: f1_score(labels, predicted, zero_division=0),
}


def test_cuts_in_the_gap_that_tells_most_pairs_right():
    similarities = np.array([0.1, 0.3, 0.35, 0.6, 0.9], np.float32)
    labels = np.array([0, 0, 1, 0, 1])
    # Cuts: between 0.3 and 0.35, 4 of 5 right; between 0.6 and 0.9, 4 of 5 too. The first one,
    # 0.325, is nearer to 0.5 than 0.75.
    assert choose_threshold(similarities, labels) == pytest.approx((0.325, 0.8))


def test_labels_that_are_all_one_class_put_the_threshold_beyond_all_similarities():
    similarities = np.array([0.2, 1.0], np.float32)
    lowest, right = choose_threshold(similarities, np.array([1, 1]))
    assert lowest <= 0.2 and right == 1
    highest, right = choose_threshold(similarities, np.array([0, 0]))
    assert highest > 1 and right == 1


def test_equal_similarities_are_never_parted():
    similarities = np.array([0.4, 0.4, 0.4], np.float32)
    threshold, right = choose_threshold(similarities, np.array([0, 1, 1]))
    assert threshold <= 0.4 and right == pytest.approx(2 / 3)


@pytest.mark.parametrize("rule", sorted(RULES))
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_other_threshold_is_better(rule, data):
    count = data.draw(st.integers(1, 30))
    unit = st.floats(0, 1, width=32)
    similarities = data.draw(arrays(np.float32, count, elements=unit))
    labels = data.draw(arrays(np.int64, count, elements=st.integers(0, 1)))
    threshold, score = choose_threshold(similarities, labels, rule)
    judge = SKLEARN[rule]
    reached = judge(labels, (similarities >= np.float32(threshold)).astype(int))
    if reached is None:  # sklearn defines no balanced accuracy for one class
        return
    assert score == pytest.approx(reached)
    for other in np.r_[similarities, np.float32(0), np.float32(2)]:
        assert judge(labels, (similarities >= other).astype(int)) <= reached + 1e-9
