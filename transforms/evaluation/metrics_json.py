"""Turns what was counted into what metrics.json says: measures, intervals, slices, baselines."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from transforms.evaluation import binary_metrics, class_metrics, regression_metrics
from transforms.evaluation.bootstrap import RESAMPLES, intervals
from transforms.evaluation.class_metrics import ClassTally
from transforms.evaluation.evaluate_shards import ALL, PRIOR, EvaluationCounts, Tally
from transforms.evaluation.histograms import ScoreHistogram
from transforms.evaluation.regression_metrics import BINS, JointHistogram
from transforms.evaluation.slices import Slice


def results(
    evaluation: EvaluationCounts, classes: tuple[str, ...], *, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """The content of metrics.json without lineage; numbers that have no meaning are null."""
    tally = evaluation.tallies[ALL]
    found = {
        "rows": tally.rows,
        "rows_skipped": sum(evaluation.skipped.values()),
        "skipped_by_reason": dict(sorted(evaluation.skipped.items())),
        **measured(tally, resamples),
        **pictures(tally, classes),
        "baselines": baselines(evaluation, classes, resamples),
        "slices": slice_table(evaluation.tallies, resamples),
        "worst": evaluation.worst,
    }
    return clean(found | {"warnings": warnings(found)})


def measured(tally: Tally, resamples: int) -> dict[str, Any]:
    """The measures of some rows and their intervals."""
    counts, measure = cells(tally)
    return {"metrics": measure(None), "intervals": intervals(counts, measure, resamples=resamples)}


def cells(tally: Tally) -> tuple[np.ndarray, Callable[..., dict[str, float]]]:
    """The counts of a tally, and its measures as a function of counts (None: its own)."""
    if isinstance(tally, ScoreHistogram):
        small = tally.occupied()
        return small.counts, lambda counts: binary_metrics.measures(small, counts)
    if isinstance(tally, JointHistogram):
        return tally.counts, lambda counts: regression_metrics.measures(tally, counts)
    return tally.confusion, lambda counts: class_metrics.measures(tally, counts)


def pictures(tally: Tally, classes: tuple[str, ...]) -> dict[str, Any]:
    """What the curves and tables of a report are drawn from."""
    if isinstance(tally, ScoreHistogram):
        return {
            "confusion": binary_metrics.confusion(tally),
            "thresholds": binary_metrics.threshold_table(tally),
            "calibration": binary_metrics.calibration(tally),
            "distribution": binary_metrics.distribution(tally),
        }
    if isinstance(tally, ClassTally):
        return {
            "confusion": tally.confusion.tolist(),
            "classes_measured": class_metrics.class_measures(tally, classes),
        }
    return {"scatter": scatter(tally)}


def scatter(joint: JointHistogram, side: int = 40) -> dict[str, Any]:
    """Rows on a coarse grid of score and label: [score][label], and the grid's ends."""
    score, label = np.divmod(joint.cells, BINS)
    grid = np.zeros((side, side), np.int64)
    np.add.at(grid, (score * side // BINS, label * side // BINS), joint.counts)
    high = joint.low + BINS * joint.width
    return {
        "rows": grid.tolist(),
        "score_range": [float(joint.low[0]), float(high[0])],
        "label_range": [float(joint.low[1]), float(high[1])],
    }


def baselines(
    evaluation: EvaluationCounts, classes: tuple[str, ...], resamples: int
) -> dict[str, dict[str, Any]]:
    """What needs no model: the commonest label, and what single sentences say."""
    tally = evaluation.tallies[ALL]
    found: dict[str, dict[str, Any]] = {}
    if not isinstance(tally, JointHistogram) and tally.rows:
        actual = (
            tally.by_label.sum(axis=1)
            if isinstance(tally, ScoreHistogram)
            else tally.confusion.sum(axis=1)
        )
        share = float(actual.max() / tally.rows)
        metrics = majority_metrics(share, int(actual.argmax()), len(actual))
        found["majority"] = {"label": classes[int(actual.argmax())], "metrics": metrics}
    if PRIOR in evaluation.tallies:
        found["sentence_prior"] = measured(evaluation.tallies[PRIOR], resamples)
    return found


def majority_metrics(share: float, label: int, classes: int) -> dict[str, float]:
    """The measures of always giving the commonest label.

    Of two classes F1 is that of label 1, 2·TP / (2·TP + FP + FN): 0 where label 0 is given; the
    macro F1 of several is the mean over classes, 0 for all but the one.
    """
    f1 = 2 * share / (1 + share)
    if classes == 2:
        positive = {"precision": share, "recall": 1.0, "f1": f1, "roc_auc": 0.5}
        negative = {"precision": math.nan, "recall": 0.0, "f1": 0.0, "roc_auc": 0.5}
        return {"accuracy": share, **(positive if label == 1 else negative)}
    return {"accuracy": share, "macro_f1": f1 / classes}


def slice_table(tallies: dict[Slice, Tally], resamples: int) -> list[dict[str, Any]]:
    """Measures of each slice, in order."""
    return [
        {"slice": by, "value": value, "rows": tallies[by, value].rows}
        | measured(tallies[by, value], resamples)
        for by, value in sorted(tallies, key=_in_order)
        if (by, value) not in (ALL, PRIOR) and tallies[by, value].rows
    ]


def _in_order(name: Slice) -> tuple[str, float, str]:
    # isdecimal, not isdigit: ² is a digit that float() does not read.
    number = "".join(c for c in name[1].split("-")[0] if c.isdecimal())
    return name[0], float(number or "inf"), name[1]


def warnings(found: dict[str, Any]) -> list[str]:
    """What a reader must not overlook, a sentence each."""
    warnings = []
    for name, baseline in found["baselines"].items():
        for measure in ("accuracy", "pearson"):
            if measure not in found["metrics"] or measure not in baseline["metrics"]:
                continue
            low, other = found["intervals"].get(measure, (math.nan,))[0], baseline["metrics"]
            if low <= other[measure]:
                warnings.append(
                    f"{measure} {found['metrics'][measure]:.3f} is not clearly above the baseline "
                    f"{name.replace('_', ' ')} ({other[measure]:.3f})"
                )
    if found["rows_skipped"]:
        reasons = ", ".join(f"{n} {why}" for why, n in found["skipped_by_reason"].items())
        warnings.append(f"{found['rows_skipped']} rows could not be judged ({reasons})")
    error = found["metrics"].get("calibration_error", 0)
    if error > 0.05:
        warnings.append(
            f"similarities are no probabilities here: off by {error:.3f} on average; "
            "twinbeam calibrate makes them so"
        )
    return warnings


def clean(value: Any) -> Any:
    """The same with NaN as None, as JSON knows none, and floats rounded.

    Sums differ in their last bits with the order in which shards finish.
    """
    if isinstance(value, dict):
        return {key: clean(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [clean(each) for each in value]
    if isinstance(value, float):
        return round(float(value), 9) if math.isfinite(value) else None
    return value
