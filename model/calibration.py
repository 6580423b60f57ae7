"""Makes similarities mean probabilities: a rising function of the similarity, fitted on labels.

Platt: a logistic curve over the similarity's log-odds (Platt, Probabilistic Outputs for Support
Vector Machines, 1999). Isotonic: the rising steps of Zadrozny and Elkan (KDD 2002), joined by
lines. Both are functions of the similarity alone, so score(a, b) = score(b, a) stays true.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from transforms.errors import UserError
from transforms.evaluation.histograms import ScoreHistogram

Method = Literal["platt", "isotonic"]
_EDGE = 1e-6  # log-odds of 0 and 1 are none


@dataclass(frozen=True)
class Calibration:
    """A rising function from 0…1 to 0…1.

    Attributes:
        method: `platt` or `isotonic`.
        slope: of the log-odds, above 0; for `platt`.
        offset: of the log-odds; for `platt`.
        x: similarities between which lines are drawn, rising; for `isotonic`.
        y: their probabilities, never falling; for `isotonic`.
    """

    method: Method
    slope: float = 1.0
    offset: float = 0.0
    x: tuple[float, ...] = ()
    y: tuple[float, ...] = ()

    def __call__(self, similarity: np.ndarray) -> np.ndarray:
        """Similarities [n] → probabilities, float64 [n]."""
        value = np.asarray(similarity, np.float64)
        if self.method == "isotonic":
            return np.interp(value, self.x, self.y)
        value = np.clip(value, _EDGE, 1 - _EDGE)
        return 1 / (1 + np.exp(-(self.slope * np.log(value / (1 - value)) + self.offset)))

    def graph(self, similarity: Any) -> Any:
        """The same as TensorFlow operations: float32 [n] → float32 [n]."""
        import tensorflow as tf

        value = tf.cast(similarity, tf.float64)  # float32 would tie what differs near 1
        if self.method == "isotonic":
            return tf.cast(_interpolated(value, self.x, self.y), tf.float32)
        value = tf.clip_by_value(value, _EDGE, 1 - _EDGE)
        odds = self.slope * (tf.math.log(value) - tf.math.log1p(-value)) + self.offset
        return tf.cast(tf.sigmoid(odds), tf.float32)

    def similarity_of(self, probability: float) -> float:
        """The similarity that has this probability, above 0 and below 1; for `platt`."""
        odds = np.log(probability / (1 - probability))
        return float(1 / (1 + np.exp((self.offset - odds) / self.slope)))

    def to_json(self) -> dict[str, Any]:
        """As plain values, for a manifest."""
        if self.method == "platt":
            return {"method": "platt", "slope": self.slope, "offset": self.offset}
        return {"method": "isotonic", "x": list(self.x), "y": list(self.y)}


def _interpolated(value: Any, x: tuple[float, ...], y: tuple[float, ...]) -> Any:
    import tensorflow as tf

    xs, ys = tf.constant(x, tf.float64), tf.constant(y, tf.float64)
    value = tf.clip_by_value(value, xs[0], xs[-1])
    place = tf.clip_by_value(tf.searchsorted(xs, value, side="right"), 1, len(x) - 1)
    left, right = tf.gather(xs, place - 1), tf.gather(xs, place)
    low, high = tf.gather(ys, place - 1), tf.gather(ys, place)
    return low + (high - low) * (value - left) / (right - left)


def fit(histogram: ScoreHistogram, method: Method, *, trusted: float = 0) -> Calibration:
    """The calibration that fits labelled scores best.

    Args:
        histogram: of the labelled scores.
        method: the kind of function.
        trusted: that similarities are the probabilities which they should be counts for so many
            pairs more; a few labels then change little.

    Raises:
        UserError: there is one label only, or similarities do not rise with the labels.
    """
    zeros, ones = histogram.by_label.sum(axis=1)
    if not ((zeros and ones) or (trusted and histogram.rows)):
        raise UserError(
            f"calibration needs pairs of both labels; received {zeros} of 0 and {ones} of 1"
        )
    small = histogram.occupied()
    mean = small.similarity / small.counts.sum(axis=(0, 1))
    similarity = np.r_[mean, mean]
    label = np.repeat([0, 1], len(mean))
    share = small.counts.sum(axis=(0, 1)) / histogram.rows
    rows = (small.by_label + trusted * share * np.stack([1 - mean, mean])).ravel()
    fitter = _platt if method == "platt" else _isotonic
    return fitter(similarity, label, rows)


def _platt(similarity: np.ndarray, label: np.ndarray, rows: np.ndarray) -> Calibration:
    from sklearn.linear_model import LogisticRegression

    value = np.clip(similarity, _EDGE, 1 - _EDGE)
    odds = np.log(value / (1 - value))[:, None]
    fitted = LogisticRegression(C=1e6, max_iter=1000).fit(odds, label, rows)
    slope = float(fitted.coef_[0, 0])
    if slope <= 0:
        raise UserError(
            "similarities do not rise with the labels, so no calibration can help; "
            "check --label_column and the bundle"
        )
    return Calibration("platt", slope, float(fitted.intercept_[0]))


def _isotonic(similarity: np.ndarray, label: np.ndarray, rows: np.ndarray) -> Calibration:
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(similarity, label, rows)
    x, y = fitted.X_thresholds_, fitted.y_thresholds_
    if len(x) < 2 or y[0] >= y[-1]:
        raise UserError(
            "similarities do not rise with the labels, so no calibration can help; "
            "check --label_column and the bundle"
        )
    return Calibration("isotonic", x=tuple(map(float, x)), y=tuple(map(float, y)))


def calibrated(histogram: ScoreHistogram, calibration: Calibration) -> ScoreHistogram:
    """The histogram that the same rows would give after calibration, to a bin's width."""
    small = histogram.occupied()
    mean = small.similarity / np.maximum(small.counts.sum(axis=(0, 1)), 1)
    probability = calibration(mean)
    loss = -np.log(np.clip(np.stack([1 - probability, probability]), 1e-7, 1))
    return ScoreHistogram(
        small.counts, probability * small.counts.sum(axis=(0, 1)), loss * small.by_label
    )
