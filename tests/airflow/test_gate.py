"""The gate's decision, case by case."""

from __future__ import annotations

import pytest

from twinbeam_train import LESS_IS_BETTER, MORE_IS_BETTER, decide


def judged(rows: int = 100, **metrics: float | None) -> dict:
    return {"rows": rows, "metrics": metrics}


@pytest.mark.parametrize(
    ("new", "current", "metric", "least", "better", "reason"),
    [
        (judged(accuracy=0.8), judged(accuracy=0.7), "accuracy", 0.0, True, "better"),
        (judged(accuracy=0.7), judged(accuracy=0.7), "accuracy", 0.0, False, "not better"),
        (judged(accuracy=0.6), judged(accuracy=0.7), "accuracy", 0.0, False, "not better"),
        (judged(accuracy=0.74), judged(accuracy=0.7), "accuracy", 0.05, False, "not better"),
        (judged(accuracy=0.75), judged(accuracy=0.5), "accuracy", 0.25, True, "better"),
        (judged(log_loss=0.4), judged(log_loss=0.5), "log_loss", 0.0, True, "better"),
        (judged(log_loss=0.6), judged(log_loss=0.5), "log_loss", 0.0, False, "not better"),
        (judged(accuracy=0.1), None, "accuracy", 0.5, True, "no bundle yet"),
        (judged(pearson=0.1), None, "accuracy", 0.0, False, "there is no accuracy"),
        (judged(accuracy=0.9), judged(99, accuracy=0.7), "accuracy", 0.0, False, "not the same"),
        (judged(accuracy=None), judged(accuracy=0.7), "accuracy", 0.0, False, "no value"),
        (judged(accuracy=None), None, "accuracy", 0.0, False, "no value"),
        (judged(accuracy=0.8), judged(accuracy=None), "accuracy", 0.0, False, "no value"),
        (judged(accuracy=0.8), judged(f1=0.7), "accuracy", 0.0, False, "no value"),
        (judged(accuracy=float("nan")), judged(accuracy=0.1), "accuracy", 0.0, False, "not better"),
    ],
)
def test_only_a_better_bundle_passes(new, current, metric, least, better, reason):
    decided, why = decide(new, current, metric, least)

    assert decided is better
    assert reason in why


def test_no_measure_goes_both_ways():
    assert not set(MORE_IS_BETTER) & set(LESS_IS_BETTER)
