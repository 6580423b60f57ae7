from __future__ import annotations

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from model.calibration import Calibration, calibrated, fit
from transforms.errors import UserError
from transforms.evaluation import binary_metrics
from transforms.evaluation.histograms import ScoreHistogram


def miscalibrated(rows: int = 8_000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True probabilities, the similarity that a model says instead, and labels."""
    random = np.random.default_rng(2)
    odds = random.normal(0, 1.5, rows)
    truth = 1 / (1 + np.exp(-odds))
    return truth, 1 / (1 + np.exp(-(3 * odds + 2))), random.random(rows) < truth


def histogram(similarity: np.ndarray, label: np.ndarray) -> ScoreHistogram:
    return ScoreHistogram.count(similarity, label, similarity >= 0.5)


def test_platt_is_the_logistic_regression_of_the_log_odds():
    _, similarity, label = miscalibrated()
    odds = np.log(similarity / (1 - similarity))[:, None]
    expected = LogisticRegression(C=1e6).fit(odds, label)

    found = fit(histogram(similarity, label), "platt")

    assert found.slope == pytest.approx(expected.coef_[0, 0], rel=1e-2)
    assert found.slope == pytest.approx(1 / 3, rel=0.1)  # the similarity's odds are 3 · odds + 2
    assert found.offset == pytest.approx(-2 / 3, rel=0.1)


def test_isotonic_is_scikit_learns_on_the_rows():
    _, similarity, label = miscalibrated()
    expected = IsotonicRegression(out_of_bounds="clip").fit(similarity, label)
    grid = np.linspace(0.01, 0.99, 60)

    found = fit(histogram(similarity, label), "isotonic")

    assert np.abs(found(grid) - expected.predict(grid)).mean() < 0.01


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_similarities_become_probabilities_and_keep_their_order(method: str):
    truth, similarity, label = miscalibrated()
    counts = histogram(similarity, label)
    found = fit(counts, method)

    assert np.abs(found(similarity) - truth).mean() < 0.03
    assert (np.diff(found(np.sort(similarity))) >= 0).all()
    before = binary_metrics.measures(counts)
    after = binary_metrics.measures(calibrated(counts, found))
    direct = binary_metrics.measures(histogram(found(similarity), label))
    assert after["calibration_error"] < 0.02 < 0.1 < before["calibration_error"]
    for name in ("log_loss", "brier", "roc_auc"):
        assert after[name] == pytest.approx(direct[name], abs=3e-3)


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_the_graph_says_what_numpy_says(method: str):
    _, similarity, label = miscalibrated(500)
    found = fit(histogram(similarity, label), method)
    values = np.r_[0, 1, similarity].astype(np.float32)

    assert found.graph(values).numpy() == pytest.approx(found(values), abs=1e-6)


def test_the_steps_are_joined_by_lines():
    found = Calibration("isotonic", x=(0.2, 0.4, 0.8), y=(0.0, 0.5, 1.0))
    values = np.array([0.0, 0.2, 0.3, 0.4, 0.6, 0.9])

    assert found(values) == pytest.approx([0, 0, 0.25, 0.5, 0.75, 1])
    assert found.graph(values.astype(np.float32)).numpy() == pytest.approx(found(values), abs=1e-6)


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_what_cannot_be_calibrated_is_reported(method: str):
    similarity = np.linspace(0.1, 0.9, 50)

    with pytest.raises(UserError, match="both labels"):
        fit(histogram(similarity, np.ones(50, bool)), method)
    with pytest.raises(UserError, match="do not rise"):
        fit(histogram(similarity, similarity < 0.5), method)
