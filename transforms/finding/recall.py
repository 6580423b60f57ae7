"""Recall of a search that leaves something out, from sentences that were searched in full."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

Z95 = 1.959964


@dataclass(frozen=True)
class Recall:
    """What share of the pairs a search finds, with its 95 % interval.

    Attributes:
        recall: found of all pairs of the anchors.
        low: lower end of the interval.
        high: upper end.
        anchors: sentences that were compared with all others.
        pairs: how many pairs they are in.
        found: how many of those the search finds.
    """

    recall: float
    low: float
    high: float
    anchors: int
    pairs: int
    found: int

    def to_json(self) -> dict[str, Any]:
        """As plain values, for a manifest."""
        return {key: round(value, 6) for key, value in asdict(self).items()}

    def __str__(self) -> str:
        """For a person."""
        return (
            f"recall {self.recall:.4f} (95 % interval {self.low:.4f} to {self.high:.4f}, "
            f"{self.pairs:,} pairs of {self.anchors:,} sentences searched in full)"
        )


def measure_recall(pairs: np.ndarray, found: np.ndarray) -> Recall:
    """The recall over anchors, whose pairs are found or missed together more than by chance.

    Wilson's interval (1927) with the effective number of pairs of Korn and Graubard (Survey
    Methodology 24, 1998): pairs / design effect, the effect being that of the anchors as clusters.
    Where nothing was missed the anchors cannot show it; each then counts as one pair.

    Args:
        pairs: how many pairs each anchor is in, int [n].
        found: how many of them the search finds, int [n].
    """
    total, hits = int(pairs.sum()), int(found.sum())
    having = int(np.count_nonzero(pairs))
    if not total:
        return Recall(1.0, 0.0, 1.0, len(pairs), 0, 0)
    share = hits / total
    low, high = _wilson(share, _effective(pairs, found, share, having))
    return Recall(share, min(low, share), max(high, share), len(pairs), total, hits)


def _effective(pairs: np.ndarray, found: np.ndarray, share: float, having: int) -> float:
    total = float(pairs.sum())
    single = share * (1 - share) / total
    if single == 0 or having < 2:
        return float(having)
    residual = found - share * pairs
    clustered = float((residual**2).sum()) * having / (having - 1) / total**2
    effect = clustered / single
    return min(total, max(total / max(effect, 1e-12), 1.0))


def _wilson(share: float, count: float) -> tuple[float, float]:
    z2 = Z95 * Z95
    middle = share + z2 / (2 * count)
    half = Z95 * math.sqrt(share * (1 - share) / count + z2 / (4 * count * count))
    low, high = (middle - half) / (1 + z2 / count), (middle + half) / (1 + z2 / count)
    return max(0.0, low), min(1.0, high)


def least_effort(needed: np.ndarray, target: float, most: float) -> float:
    """The least effort (visits of cells, or a distance) that finds enough of the anchors' pairs.

    Args:
        needed: at which effort each pair is found, [n], n > 0.
        target: the share that has to be found.
        most: the greatest effort there is.
    """
    places = np.sort(needed)
    enough = math.ceil(target * len(places) - 1e-9)
    return min(most, places[max(enough, 1) - 1].item())
