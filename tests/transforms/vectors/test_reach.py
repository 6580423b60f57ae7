"""From a least similarity to a distance, by asking the comparison."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from tests.finding_kit import LetterScorer
from transforms.vectors.reach import reach_of


class Calibrated(LetterScorer):
    """A logistic curve on top of the similarity, as calibration makes it."""

    def compare(self, vectors, first, second):
        raw = super().compare(vectors, first, second)[0].to_numpy()
        return [pa.array((1 / (1 + np.exp(-(8 * raw - 4)))).astype(np.float32))]


class Dipped(LetterScorer):
    """A similarity that is a little less between two distances than beyond them."""

    def compare(self, vectors, first, second):
        found = super().compare(vectors, first, second)[0].to_numpy()
        dips = (found > np.exp(-0.31)) & (found < np.exp(-0.30))
        return [pa.array(np.where(dips, found - np.float32(0.1), found))]


def test_what_is_similar_beyond_a_dip_is_reached():
    """−ln 0.7 = 0.35667; at a distance of 0.305 the similarity is 0.637."""
    found = reach_of(Dipped("manhattan", 0.5), "manhattan", 0.7)
    assert found.radius == pytest.approx(0.35667, abs=1e-4)


@pytest.mark.parametrize("least", [0.99, 0.7, 0.5, 0.01, 1e-6])
@pytest.mark.parametrize("distance", ["manhattan", "euclidean"])
def test_exp_of_minus_the_distance(distance, least):
    """exp(−d) ≥ s ⇔ d ≤ −ln s."""
    found = reach_of(LetterScorer(distance, 0.5), distance, least)
    assert found.radius == pytest.approx(-math.log(least), rel=1e-5)


@pytest.mark.parametrize("least", [0.99, 0.5, 0.0, -0.4])
def test_the_cosine_itself(least):
    found = reach_of(LetterScorer("cosine", 0.5), "cosine", least)
    assert found.radius == pytest.approx(1 - least, abs=1e-5)


def test_a_calibrated_similarity_needs_no_formula():
    """1 / (1 + exp(−(8 s − 4))) ≥ 0.9 ⇔ s ≥ (4 + ln 9) / 8 = 0.77465 ⇔ d ≤ 0.25534."""
    found = reach_of(Calibrated("manhattan", 0.5), "manhattan", 0.9)
    assert found.radius == pytest.approx(0.25534, abs=1e-4)


def test_where_every_pair_is_enough_there_is_no_limit():
    assert reach_of(LetterScorer("manhattan", 0.5), "manhattan", 0.0).radius == math.inf


def test_where_no_pair_is_enough_nothing_is_near():
    assert reach_of(LetterScorer("manhattan", 0.5), "manhattan", 1.1).radius == 0
