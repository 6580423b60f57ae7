"""The similarity from which a pair is labelled similar, chosen on the eval part."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from transforms.errors import UserError

DEFAULT_RULE = "accuracy"
LOGISTIC, BALANCED_LOGISTIC = "logistic", "balanced_logistic"
EXPECTED = (
    "accuracy, logistic, balanced_accuracy, balanced_logistic, f1, precision>=X, recall>=X, "
    "cost=ALARM:MISS or fixed=X"
)
# Of each cut: positives found, negatives found [cuts]; all positives, all negatives → score [cuts].
Score = Callable[[np.ndarray, np.ndarray, int, int], np.ndarray]
_TRUSTED = 100  # pairs: at so many, what they say weighs as much as what training aimed at
_AT_LEAST = re.compile(r"(precision|recall)>=(0?\.\d+|0|1(?:\.0*)?)")
_FIXED = re.compile(r"fixed=(0?\.\d+|0|1(?:\.0*)?)")
_COST = re.compile(r"cost=(\d+\.?\d*):(\d+\.?\d*)")


def _accuracy(hits: np.ndarray, alarms: np.ndarray, ones: int, zeros: int) -> np.ndarray:
    return (hits + zeros - alarms) / (ones + zeros)


def _balanced(hits: np.ndarray, alarms: np.ndarray, ones: int, zeros: int) -> np.ndarray:
    return (hits / max(ones, 1) + (zeros - alarms) / max(zeros, 1)) / 2


def _f1(hits: np.ndarray, alarms: np.ndarray, ones: int, zeros: int) -> np.ndarray:
    return 2 * hits / np.maximum(hits + alarms + ones, 1)


RULES: dict[str, Score] = {"accuracy": _accuracy, "balanced_accuracy": _balanced, "f1": _f1}


def parse_rule(rule: str) -> Score:
    """The score that a rule gives each cut; the best cut has the highest.

    `precision>=0.95` takes, of the cuts with at least this precision, the one that finds most;
    where none has it, the one with the highest. `recall>=0.9` takes the most precise of those that
    find enough. `cost=1:5` counts a false alarm as 1 and a missed pair as 5.

    Raises:
        UserError: there is no such rule.
    """
    if rule in RULES:
        return RULES[rule]
    if found := _AT_LEAST.fullmatch(rule.replace(" ", "")):
        return _at_least(found[1], float(found[2]))
    if found := _COST.fullmatch(rule.replace(" ", "")):
        alarm, miss = float(found[1]), float(found[2])
        return lambda hits, alarms, ones, zeros: -(alarm * alarms + miss * (ones - hits))
    raise UserError(f"threshold rule {rule!r}: expected {EXPECTED}")


def check_rule(rule: str) -> str:
    """The rule, if there is such a one.

    Raises:
        ValueError: there is not.
    """
    try:
        if rule not in (LOGISTIC, BALANCED_LOGISTIC) and not _FIXED.fullmatch(rule):
            parse_rule(rule)
    except UserError as error:
        raise ValueError(str(error)) from None
    return rule


def _at_least(name: str, floor: float) -> Score:
    def score(hits: np.ndarray, alarms: np.ndarray, ones: int, zeros: int) -> np.ndarray:
        precision = hits / np.maximum(hits + alarms, 1)
        recall = hits / max(ones, 1)
        held, sought = (precision, recall) if name == "precision" else (recall, precision)
        return np.where(held >= floor, 1 + sought, held)

    return score


def choose_threshold(
    similarities: np.ndarray,
    labels: np.ndarray,
    rule: str = DEFAULT_RULE,
    *,
    probabilities: bool = False,
) -> tuple[float, float]:
    """The threshold with the best score by a rule (see `parse_rule`), and that score.

    The rule `logistic` also seeks the most pairs labelled correctly, but trusts the cuts of these
    few pairs less: it takes the similarity that a logistic curve through all of them gives even
    odds. The best cut of thousands of noisy pairs is far from that of the next thousands.
    `balanced_logistic` does so as if both labels were equally frequent. With `probabilities` the
    similarities were trained to be these, which counts as much to the curve as 100 pairs: fifteen
    pairs of a small evaluation part leave the threshold near 0.5, thousands choose it alone.
    `fixed=0.5` takes 0.5, whatever the pairs say; its score is the accuracy.

    A pair is similar where similarity ≥ threshold. `similarities` float [n] in 0…1, `labels` 0 or
    1 [n]. Every cut between two neighbouring similarities is tried; of equally good ones the
    nearest to 0.5 is taken. The threshold is a float32, halfway in its gap.
    """
    if rule in (LOGISTIC, BALANCED_LOGISTIC):
        trusted = _TRUSTED if probabilities else 0
        return _on_curve(similarities, labels, trusted, balanced=rule == BALANCED_LOGISTIC)
    if fixed := _FIXED.fullmatch(rule):
        cut = np.float32(fixed[1])
        predicted = np.asarray(similarities, np.float32) >= cut
        return float(cut), float(np.mean(predicted == (np.asarray(labels) >= 0.5)))
    order = np.argsort(-similarities, kind="stable")
    values = np.asarray(similarities, np.float32)[order]
    ones = np.asarray(labels)[order] >= 0.5
    # The cut after k pairs labels the k most similar 1; it must not separate equal similarities.
    cuts = np.r_[0, np.flatnonzero(np.diff(values)) + 1, len(values)]
    hits = np.r_[0, np.cumsum(ones)][cuts]
    scores = parse_rule(rule)(hits, cuts - hits, int(ones.sum()), int((~ones).sum()))
    above = np.r_[np.float32(1), values][cuts]
    below = np.r_[values, np.float32(0)][cuts]
    middle = _between(below, above)
    if len(values) and values[0] >= 1:  # nothing fits above a similarity of 1 but the next float
        middle[0] = np.nextafter(values[0], np.float32(np.inf), dtype=np.float32)
    best = np.flatnonzero(scores >= scores.max() - 1e-12)
    chosen = best[np.argmin(np.abs(middle[best] - 0.5))]
    return float(middle[chosen]), float(scores[chosen])


def _on_curve(
    similarities: np.ndarray, labels: np.ndarray, trusted: float, *, balanced: bool
) -> tuple[float, float]:
    from model.calibration import fit
    from transforms.evaluation.histograms import ScoreHistogram

    rule = "balanced_accuracy" if balanced else DEFAULT_RULE
    ones = np.asarray(labels) >= 0.5
    try:
        curve = fit(ScoreHistogram.count(similarities, ones, ones), "platt", trusted=trusted)
    except UserError:  # one label only, or worse than chance: no curve rises through these
        return choose_threshold(similarities, labels, rule)
    # Were the labels balanced, a pair as likely to be similar as any other would have even odds.
    expected = ones.sum() + trusted * np.mean(similarities)
    share = expected / (len(ones) + trusted)
    threshold = np.float32(curve.similarity_of(share if balanced else 0.5))
    similar = np.float32(similarities) >= threshold
    hits, alarms = (np.array([np.sum(similar & kind)]) for kind in (ones, ~ones))
    score = RULES[rule](hits, alarms, int(ones.sum()), int((~ones).sum()))
    return float(threshold), float(score[0])


def _between(below: np.ndarray, above: np.ndarray) -> np.ndarray:
    """Float32 halfway between, above the lower even where the two are neighbouring floats."""
    middle = ((below.astype(np.float64) + above) / 2).astype(np.float32)
    return np.where(middle <= below, above, middle)
