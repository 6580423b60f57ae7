"""Scores of many classes: a confusion matrix and a histogram for each class against the rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from transforms.evaluation import binary_metrics
from transforms.evaluation.histograms import SMALLEST, ScoreHistogram

CLASS_BINS = 2_000  # a histogram for each class and slice: smaller, and still good to 1e-3


@dataclass(frozen=True)
class ClassTally:
    """Labels and probabilities counted.

    Attributes:
        confusion: rows, int64 [actual, predicted].
        log_loss: sum of −ln(probability given to the actual class), float64 [actual, predicted].
        one_vs_rest: for each class its probability, as a two-class histogram.
    """

    confusion: np.ndarray
    log_loss: np.ndarray
    one_vs_rest: tuple[ScoreHistogram, ...]

    @classmethod
    def count(
        cls, probabilities: np.ndarray, actual: np.ndarray, predicted: np.ndarray
    ) -> ClassTally:
        """Counts probabilities [n, classes] with actual and predicted class indices [n]."""
        classes = probabilities.shape[1]
        actual, predicted = np.asarray(actual, np.int64), np.asarray(predicted, np.int64)
        given = probabilities[np.arange(len(actual)), actual].astype(np.float64)
        cell, loss = actual * classes + predicted, -np.log(np.clip(given, SMALLEST, 1.0))
        square = (classes, classes)
        return cls(
            np.bincount(cell, minlength=classes**2).reshape(square),
            np.bincount(cell, loss, minlength=classes**2).reshape(square),
            tuple(
                ScoreHistogram.count(
                    probabilities[:, k], actual == k, predicted == k, bins=CLASS_BINS
                )
                for k in range(classes)
            ),
        )

    def __add__(self, other: ClassTally) -> ClassTally:
        """Both together."""
        pairs = zip(self.one_vs_rest, other.one_vs_rest, strict=True)
        return ClassTally(
            self.confusion + other.confusion,
            self.log_loss + other.log_loss,
            tuple(left + right for left, right in pairs),
        )

    @property
    def rows(self) -> int:
        """How many scores were counted."""
        return int(self.confusion.sum())


def measures(tally: ClassTally, counts: np.ndarray | None = None) -> dict[str, float]:
    """Accuracy, macro F1 and log loss.

    Args:
        tally: labels and probabilities counted.
        counts: a resampled confusion in place of the tally's, [actual, predicted].
    """
    cells = tally.confusion if counts is None else counts
    rows = cells.sum()
    if not rows:
        return dict.fromkeys(("accuracy", "macro_f1", "log_loss"), float("nan"))
    loss = tally.log_loss / np.maximum(tally.confusion, 1)
    called = cells.sum(axis=0) + cells.sum(axis=1)
    f1 = 2 * np.diagonal(cells) / np.maximum(called, 1)
    return {
        "accuracy": float(np.trace(cells) / rows),
        # Classes that occur neither in labels nor in predictions are no failure.
        "macro_f1": float(f1[called > 0].mean()),
        "log_loss": float((loss * cells).sum() / rows),
    }


def class_measures(tally: ClassTally, names: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """Each class against the rest: precision, recall, F1, areas, rows."""
    kept = ("precision", "recall", "f1", "roc_auc", "pr_auc")
    table = {}
    for name, histogram in zip(names, tally.one_vs_rest, strict=True):
        found = binary_metrics.measures(histogram)
        table[name] = {"rows": int(histogram.by_label[1].sum())} | {key: found[key] for key in kept}
    return table
