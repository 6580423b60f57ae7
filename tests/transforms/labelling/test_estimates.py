from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from transforms.labelling import estimates
from transforms.labelling.estimates import ClassSample, estimate


def test_by_hand():
    # 1,000 called same, 40 of 50 are: precision 0.8. 9,000 are not called so, 2 of 50 are: 360.
    # recall 800 / (800 + 360); accuracy (800 + 9,000 · 48/50) / 10,000.
    found = estimate({1: ClassSample(1_000, 50, 40), 0: ClassSample(9_000, 50, 2)})

    assert found["precision"]["value"] == 0.8
    assert found["recall"]["value"] == pytest.approx(800 / 1_160)
    assert found["accuracy"]["value"] == pytest.approx(0.944)
    assert found["labelled"] == 100
    for measure in ("precision", "recall", "accuracy"):
        assert found[measure]["low"] < found[measure]["value"] < found[measure]["high"]
    exact = binomtest(40, 50).proportion_ci(method="exact")
    assert found["precision"]["low"] == pytest.approx(exact.low, abs=0.005)
    assert found["precision"]["high"] == pytest.approx(exact.high, abs=0.005)


def test_what_is_not_known_is_not_guessed():
    only_same = estimate({1: ClassSample(100, 10, 9)})
    assert only_same["precision"]["value"] == 0.9 and only_same["recall"]["value"] == 1.0
    unlabelled = estimate({1: ClassSample(100, 10, 9), 0: ClassSample(100, 0, 0)})
    assert unlabelled["recall"] == {"value": None, "low": None, "high": None}
    assert estimate({})["precision"]["value"] is None


@pytest.mark.parametrize("positives", [0.05, 0.3])
@pytest.mark.parametrize("each", [50, 200])
def test_the_true_value_is_in_93_of_100_intervals(monkeypatch, positives: float, each: int):
    """Draws from 200,000 scored pairs whose labels are known; 200 shares of labels."""
    monkeypatch.setattr(estimates, "DRAWS", 5_000)
    random = np.random.default_rng(7)
    label = random.random(200_000) < positives
    called = random.normal(np.where(label, 1.3, -1.3), 1.1) > 0
    truth = {
        "precision": label[called].mean(),
        "recall": called[label].mean(),
        "accuracy": (called == label).mean(),
    }
    inside = dict.fromkeys(truth, 0)
    for _ in range(200):
        samples = {}
        for name in (0, 1):
            rows = np.flatnonzero(called == name)
            drawn = label[rows[random.integers(0, len(rows), each)]]
            samples[name] = ClassSample(len(rows), each, int(drawn.sum()))
        found = estimate(samples)
        for name, value in truth.items():
            inside[name] += found[name]["low"] <= value <= found[name]["high"]

    assert all(count >= 0.93 * 200 for count in inside.values()), inside
