"""Bootstrap intervals from counts: rows are never needed again once they are counted.

Resampling n rows gives each cell of a histogram a nearly Poisson count (Chamandy, Muralidharan,
Najmi and Naidu, Estimating Uncertainty for Massive Data Streams, 2012). Rows count as independent;
where sentences repeat in many pairs the true intervals are somewhat wider.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np

RESAMPLES = 200
COVERAGE = 0.95
SEED = 1979  # the year of Efron's bootstrap; the same counts always give the same intervals


def intervals(
    counts: np.ndarray,
    measure: Callable[[np.ndarray], dict[str, float]],
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> dict[str, tuple[float, float]]:
    """The central 95 % of each measure over resampled counts.

    Args:
        counts: rows in each cell, of any shape.
        measure: counts of that shape → measures by name, NaN where there is none.
        resamples: how many times; 0 gives no intervals.
        seed: of the random numbers.
    """
    random = np.random.default_rng(seed)
    drawn = [measure(random.poisson(counts)) for _ in range(resamples)]
    names = drawn[0] if drawn else {}
    return {name: _central([draw[name] for draw in drawn]) for name in names}


def _central(values: list[float]) -> tuple[float, float]:
    outside = (1 - COVERAGE) / 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all NaN: no interval
        low, high = np.nanquantile(values, (outside, 1 - outside))
    return float(low), float(high)
