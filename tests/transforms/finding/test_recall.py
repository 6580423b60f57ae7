"""Recall and its interval, held against numbers by hand and against repeated draws."""

from __future__ import annotations

import numpy as np
import pytest

from transforms.finding.recall import least_effort, measure_recall


def test_one_pair_an_anchor_is_wilsons_interval():
    """90 of 100: Wilson's 95 % interval is 0.8256 to 0.9448 (Newcombe 1998 gives the formula)."""
    found = np.array([1] * 90 + [0] * 10)
    measured = measure_recall(np.ones(100, int), found)
    assert measured.recall == 0.9
    assert (measured.low, measured.high) == pytest.approx((0.8256, 0.9448), abs=2e-3)


def test_nothing_missed_is_no_certainty():
    """n of n: the lower end is n / (n + z²), whatever the pairs of an anchor are."""
    measured = measure_recall(np.full(50, 20), np.full(50, 20))
    assert measured.recall == measured.high == 1
    assert measured.low == pytest.approx(50 / (50 + 1.959964**2))


def test_pairs_missed_together_make_the_interval_wider():
    scattered = measure_recall(np.full(100, 10), np.full(100, 9))
    together = measure_recall(np.full(100, 10), np.array([10] * 90 + [0] * 10))
    assert scattered.recall == together.recall == 0.9
    assert together.high - together.low > 2 * (scattered.high - scattered.low)


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    """400 draws of 200 anchors from many; each anchor finds its pairs with a chance of its own."""
    random = np.random.default_rng(11)
    chances = random.beta(18, 2, size=50_000)  # 0.9 on average
    sizes = random.integers(1, 8, size=50_000)
    truth = (chances * sizes).sum() / sizes.sum()
    inside = 0
    for _ in range(400):
        anchors = random.integers(50_000, size=200)
        found = random.binomial(sizes[anchors], chances[anchors])
        measured = measure_recall(sizes[anchors], found)
        inside += measured.low <= truth <= measured.high
    assert 0.92 <= inside / 400 <= 0.985


def test_no_pairs_say_nothing():
    measured = measure_recall(np.zeros(5, int), np.zeros(5, int))
    assert (measured.low, measured.high) == (0, 1)


def test_the_least_effort_that_finds_enough():
    needed = np.array([1, 1, 1, 2, 2, 3, 9, 4, 4, 1])
    assert least_effort(needed, 0.4, 16) == 1
    assert least_effort(needed, 0.9, 16) == 4
    assert least_effort(needed, 1.0, 16) == 9
    assert least_effort(needed, 1.0, 8) == 8
    assert least_effort(np.array([0.25, 0.5, 0.125]), 0.5, np.inf) == 0.25
