"""What `benchmarks.doubts` counts, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.doubts import cleanlab_doubt, flip, hits


def test_a_share_of_the_labels_is_flipped():
    label = np.random.default_rng(0).integers(0, 2, 1_000)
    wrong, flipped = flip(label, 0.05, seed=1)

    assert flipped.sum() == 50 and ((wrong != label) == flipped).all()
    assert not (flip(label, 0.05, seed=2)[1] == flipped).all()


def test_of_as_many_as_were_flipped_those_that_were():
    # The two most doubtful are the second and the fourth; the second is a flipped one.
    doubt, flipped = np.array([0.1, 0.9, 0.5, 0.8]), np.array([False, True, True, False])

    assert hits(doubt, flipped) == 0.5


def test_cleanlab_ranks_by_self_confidence_too():
    pytest.importorskip("cleanlab")
    label, chance = np.array([1, 0, 1]), np.array([0.9, 0.8, 0.3])

    assert cleanlab_doubt(label, chance).argsort().tolist() == [0, 2, 1]
