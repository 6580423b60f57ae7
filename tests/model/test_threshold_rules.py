from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.metrics import balanced_accuracy_score, precision_score, recall_score

from model.threshold import choose_threshold
from transforms.errors import UserError

PAIRS = st.lists(st.tuples(st.sampled_from(np.linspace(0, 1, 9)), st.booleans()), min_size=1)


def every_cut(similarities: np.ndarray) -> list[np.ndarray]:
    return [similarities >= cut for cut in [*np.unique(similarities), 2.0]]


def columns(pairs: list) -> tuple[np.ndarray, np.ndarray]:
    return np.array([p[0] for p in pairs], np.float32), np.array([p[1] for p in pairs], int)


def scores(labels: np.ndarray, predicted: np.ndarray) -> tuple[float, float]:
    return (
        precision_score(labels, predicted, zero_division=0),
        recall_score(labels, predicted, zero_division=0),
    )


@settings(max_examples=25, deadline=None)
@given(PAIRS, st.sampled_from([0.3, 0.5, 0.75, 1.0]))
def test_precision_of_at_least_finds_the_most(pairs: list, floor: float):
    similarities, labels = columns(pairs)
    threshold, _ = choose_threshold(similarities, labels, f"precision>={floor}")
    precision, recall = scores(labels, similarities >= np.float32(threshold))
    possible = [scores(labels, predicted) for predicted in every_cut(similarities)]
    allowed = [r for p, r in possible if p >= floor]

    if allowed:
        assert precision >= floor and recall == pytest.approx(max(allowed))
    else:
        assert precision == pytest.approx(max(p for p, _ in possible))


@settings(max_examples=25, deadline=None)
@given(PAIRS, st.sampled_from([0.3, 0.5, 0.75, 1.0]))
def test_recall_of_at_least_is_the_most_precise(pairs: list, floor: float):
    similarities, labels = columns(pairs)
    threshold, _ = choose_threshold(similarities, labels, f"recall>={floor}")
    precision, recall = scores(labels, similarities >= np.float32(threshold))
    possible = [scores(labels, predicted) for predicted in every_cut(similarities)]

    if labels.any():
        assert recall >= floor
        assert precision == pytest.approx(max(p for p, r in possible if r >= floor))


@settings(max_examples=25, deadline=None)
@given(PAIRS, st.sampled_from([(1, 1), (1, 5), (10, 1), (0.5, 2)]))
def test_the_cost_of_errors_is_least(pairs: list, costs: tuple[float, float]):
    similarities, labels = columns(pairs)
    threshold, _ = choose_threshold(similarities, labels, f"cost={costs[0]}:{costs[1]}")

    def cost(predicted: np.ndarray) -> float:
        alarms, misses = (predicted & (labels == 0)).sum(), (~predicted & (labels == 1)).sum()
        return alarms * costs[0] + misses * costs[1]

    assert cost(similarities >= np.float32(threshold)) == pytest.approx(
        min(cost(predicted) for predicted in every_cut(similarities))
    )


@pytest.mark.parametrize("rule", ["", "precision", "precision>=1.5", "recall>=-1", "cost=1", "f2"])
def test_other_rules_are_refused(rule: str):
    with pytest.raises(UserError, match="expected accuracy"):
        choose_threshold(np.array([0.5]), np.array([1]), rule)


def test_even_odds_lie_where_two_equal_bells_cross():
    # Log-odds around −2 and around 1, with one width and as many of each: they cross midway, at
    # −0.5, and there the two labels are as likely (the logistic model is exact for such bells).
    rng = np.random.default_rng(3)
    odds = np.r_[rng.normal(-2, 1.5, 40_000), rng.normal(1, 1.5, 40_000)]
    labels = np.repeat([0, 1], 40_000)
    similarities = 1 / (1 + np.exp(-odds))
    threshold, accuracy = choose_threshold(similarities, labels, "logistic")
    assert threshold == pytest.approx(1 / (1 + np.exp(0.5)), abs=0.01)
    assert accuracy == np.mean((similarities >= threshold) == labels)


@pytest.mark.parametrize("zeros", [40_000, 8_000])
def test_balanced_even_odds_do_not_follow_the_shares_of_the_labels(zeros: int):
    rng = np.random.default_rng(3)
    odds = np.r_[rng.normal(-2, 1.5, zeros), rng.normal(1, 1.5, 40_000)]
    labels = np.repeat([0, 1], [zeros, 40_000])
    similarities = 1 / (1 + np.exp(-odds))
    threshold, score = choose_threshold(similarities, labels, "balanced_logistic")
    # Midway between the bells, as above; a half of 1.5 / 1.5 from each mean: Φ(1) = 0.8413.
    assert threshold == pytest.approx(1 / (1 + np.exp(0.5)), abs=0.01)
    assert score == pytest.approx(0.8413, abs=0.005)
    assert score == pytest.approx(balanced_accuracy_score(labels, similarities >= threshold))


def test_even_odds_stray_less_than_the_best_cut_of_a_small_part():
    rng = np.random.default_rng(5)

    def draw():
        odds = np.r_[rng.normal(-1, 2, 300), rng.normal(1, 2, 300)]
        return 1 / (1 + np.exp(-odds)), np.repeat([0, 1], 300)

    parts = [draw() for _ in range(40)]
    strays = {
        rule: np.std([choose_threshold(*part, rule)[0] for part in parts])
        for rule in ("logistic", "accuracy")
    }
    assert strays["logistic"] < strays["accuracy"] / 2


def likely(rng: np.random.Generator, rows: int, shift: float = 0.0):
    """Similarities that are probabilities, but for a shift of their log-odds; and labels."""
    odds = rng.normal(0, 2, rows)
    labels = (rng.random(rows) < 1 / (1 + np.exp(-odds))).astype(int)
    return 1 / (1 + np.exp(-(odds + shift))), labels


def test_fifteen_pairs_leave_the_threshold_where_training_aimed():
    rng = np.random.default_rng(8)
    parts = [likely(rng, 15) for _ in range(100)]
    alone = [choose_threshold(*part, "logistic")[0] for part in parts]
    found = [choose_threshold(*part, "logistic", probabilities=True)[0] for part in parts]
    assert max(abs(cut - 0.5) for cut in found) < 0.15
    assert np.std(found) < np.std(alone) / 3
    one_label = choose_threshold(np.float32([0.7, 0.9]), np.array([1, 1]), "logistic")
    assert one_label[0] <= 0.7  # the best cut, for lack of a curve


@pytest.mark.parametrize("rule", ["logistic", "balanced_logistic"])
def test_thousands_of_pairs_choose_the_threshold_alone(rule: str):
    # All log-odds are 1 too high, so even odds lie at 1: 0.731.
    similarities, labels = likely(np.random.default_rng(9), 40_000, shift=1)
    threshold, _ = choose_threshold(similarities, labels, rule, probabilities=True)
    assert threshold == pytest.approx(1 / (1 + np.exp(-1)), abs=0.01)


def test_a_hundred_pairs_weigh_as_much_as_the_aim():
    """The likelihood of pairs and aim together, climbed by another optimiser."""
    similarities, labels = likely(np.random.default_rng(10), 100, shift=1.5)
    odds = np.log(similarities / (1 - similarities))

    def surprise(line: np.ndarray) -> float:
        formula = line[0] * odds + line[1]
        of_labels = np.logaddexp(0, formula) - labels * formula
        of_the_aim = np.logaddexp(0, formula) - similarities * formula
        return float(np.sum(of_labels + of_the_aim))

    slope, offset = minimize(surprise, [1.0, 0.0], method="Nelder-Mead").x

    found, _ = choose_threshold(similarities, labels, "logistic", probabilities=True)

    assert found == pytest.approx(1 / (1 + np.exp(offset / slope)), abs=0.01)


@pytest.mark.parametrize("labels", [[1, 1, 1], [1, 1, 0]])
def test_where_no_curve_rises_the_best_cut_is_taken(labels):
    similarities, labels = np.array([0.2, 0.5, 0.9]), np.array(labels)
    for rule, cut in (("logistic", "accuracy"), ("balanced_logistic", "balanced_accuracy")):
        assert choose_threshold(similarities, labels, rule) == choose_threshold(
            similarities, labels, cut
        )


def test_a_fixed_threshold_is_taken_whatever_the_pairs_say():
    # At 0.5 the pairs 0.6 (not alike) and 0.4 (alike) are told wrong: 2 of 4 right.
    similarities, labels = np.float32([0.9, 0.6, 0.4, 0.1]), np.array([1, 0, 1, 0])
    assert choose_threshold(similarities, labels, "fixed=0.5") == (0.5, 0.5)
    assert choose_threshold(similarities, labels, "fixed=0.25")[1] == 0.75
    with pytest.raises(UserError, match="fixed=X"):
        choose_threshold(similarities, labels, "fixed=1.5")
