"""What a two-class score histogram says: measures, curves, calibration, thresholds.

The measures are those of scikit-learn, under its names where it has one. Scores of one bin count
as tied, which at 10,000 bins moves nothing by 1e-3.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from transforms.evaluation.histograms import ScoreHistogram, edges

CALIBRATION_BINS = 10


def measures(histogram: ScoreHistogram, counts: np.ndarray | None = None) -> dict[str, float]:
    """The measures by name; NaN where one has no meaning, such as recall without positives.

    Args:
        histogram: the scores.
        counts: resampled counts in place of the histogram's, [actual, predicted, bins].
    """
    cells = histogram.counts if counts is None else counts
    (true_neg, false_pos), (false_neg, true_pos) = cells.sum(axis=2)
    rows = true_neg + false_pos + false_neg + true_pos
    by_label = cells.sum(axis=1)
    return {
        "accuracy": _ratio(true_neg + true_pos, rows),
        "precision": _ratio(true_pos, true_pos + false_pos),
        "recall": _ratio(true_pos, true_pos + false_neg),
        "f1": _ratio(2 * true_pos, 2 * true_pos + false_pos + false_neg),
        "roc_auc": roc_auc(by_label),
        "pr_auc": average_precision(by_label),
        "log_loss": _log_loss(histogram, by_label),
        "brier": _brier(histogram, by_label),
        "calibration_error": _calibration_error(histogram, by_label),
    }


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")


def roc_auc(by_label: np.ndarray) -> float:
    """Chance that a positive scores above a negative, ties half: rows [actual, bins]."""
    zeros, ones = by_label.astype(np.float64)
    below = np.cumsum(zeros) - zeros
    return _ratio(float(ones @ (below + zeros / 2)), ones.sum() * zeros.sum())


def average_precision(by_label: np.ndarray) -> float:
    """Precision averaged over the positives from the highest score down: rows [actual, bins]."""
    zeros, ones = by_label[:, ::-1].astype(np.float64)
    hits, called = np.cumsum(ones), np.cumsum(ones + zeros)
    return _ratio(float(ones @ (hits / np.maximum(called, 1))), ones.sum())


def _log_loss(histogram: ScoreHistogram, by_label: np.ndarray) -> float:
    # The mean loss of a bin's rows, so that resampled counts can weigh it without the rows.
    mean = histogram.log_loss / np.maximum(histogram.by_label, 1)
    return _ratio(float((mean * by_label).sum()), by_label.sum())


def _means(histogram: ScoreHistogram) -> np.ndarray:
    return histogram.similarity / np.maximum(histogram.counts.sum(axis=(0, 1)), 1)


def _brier(histogram: ScoreHistogram, by_label: np.ndarray) -> float:
    mean = _means(histogram)
    return _ratio(float(by_label[0] @ mean**2 + by_label[1] @ (1 - mean) ** 2), by_label.sum())


def _calibration_error(histogram: ScoreHistogram, by_label: np.ndarray) -> float:
    rows, similarity, ones = _calibration_sums(histogram, by_label)
    return _ratio(float(np.abs(similarity - ones).sum()), rows.sum())


def _calibration_sums(
    histogram: ScoreHistogram, by_label: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, summed similarity and positives in ten equal steps of the similarity, each [10]."""
    mean, rows = _means(histogram), by_label.sum(axis=0)
    step = np.minimum((mean * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    sums = [
        np.bincount(step, weights, minlength=CALIBRATION_BINS)
        for weights in (rows, mean * rows, by_label[1])
    ]
    return sums[0], sums[1], sums[2]


def calibration(histogram: ScoreHistogram) -> list[dict[str, float]]:
    """Mean similarity against the share of positives, in ten steps; steps without rows are out."""
    sums = zip(*_calibration_sums(histogram, histogram.by_label), strict=True)
    return [
        {"rows": int(rows), "mean_similarity": similarity / rows, "share_alike": ones / rows}
        for rows, similarity, ones in sums
        if rows
    ]


def confusion(histogram: ScoreHistogram) -> list[list[int]]:
    """Rows by actual (outer) and predicted label."""
    return histogram.counts.sum(axis=2).tolist()


def threshold_table(histogram: ScoreHistogram, points: int = 400) -> list[dict[str, Any]]:
    """The confusion if labels were cut at each of many thresholds, from 0 up.

    Returns:
        At most `points` + 1 entries of `threshold` and the four cells. Thresholds lie on the bins'
        own scale, so they are dense where exp(−distance) crowds.
    """
    bins = histogram.counts.shape[2]
    cuts = np.unique(np.linspace(0, bins, min(points, bins) + 1).astype(int))
    # Rows of each label below each edge of the bins: those would be called 0 by a cut there.
    zeros, ones = np.c_[np.zeros((2, 1), np.int64), np.cumsum(histogram.by_label, axis=1)]
    return [
        {
            "threshold": float(edges(bins)[cut]),
            "true_neg": int(zeros[cut]),
            "false_pos": int(zeros[-1] - zeros[cut]),
            "false_neg": int(ones[cut]),
            "true_pos": int(ones[-1] - ones[cut]),
        }
        for cut in cuts
    ]


def distribution(histogram: ScoreHistogram, bars: int = 40) -> list[list[int]]:
    """Rows by actual label in equal steps of the similarity: [actual][bars]."""
    step = np.minimum((_means(histogram) * bars).astype(int), bars - 1)
    return [
        np.bincount(step, rows, minlength=bars).astype(int).tolist() for rows in histogram.by_label
    ]
