from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms import drift

COUNTS = st.lists(st.integers(0, 500), min_size=4, max_size=4)


def test_the_index_by_hand():
    # p = (0.8, 0.2), q = (0.5, 0.5): 0.3 · ln(1.6) + (−0.3) · ln(0.4) = 0.1410 + 0.2749 = 0.4159
    many = 1_000_000
    found = drift.stability_index([8 * many, 2 * many], [5 * many, 5 * many])

    assert found == pytest.approx(0.4159, abs=1e-4)


@settings(deadline=None)
@given(COUNTS, COUNTS)
def test_the_index_is_symmetric_and_zero_for_the_same(left: list[int], right: list[int]):
    assert drift.stability_index(left, right) == pytest.approx(drift.stability_index(right, left))
    assert drift.stability_index(left, left) == 0
    assert np.isfinite(drift.stability_index(left, right))


@pytest.mark.parametrize("rows", [60, 500, 20_000])
def test_chance_alone_is_no_drift(rows: int):
    random = np.random.default_rng(rows)
    found = [
        drift.stability_index(
            drift.similarity_counts(random.beta(2, 3, 20_000), (0, 1)),
            drift.similarity_counts(random.beta(2, 3, rows), (0, 1)),
        )
        for _ in range(50)
    ]

    assert np.mean(found) < 0.08 and np.median(found) < drift.LITTLE


def test_a_profile_counts_what_was_scored():
    found = drift.profile(
        np.array([0.0, 0.04, 0.5, 1.0]), (0, 1), (np.array([5, 1, 7, 1]), np.array([1, 3])), 1
    )

    assert found["similarity"][0] == 2 and found["similarity"][10] == found["similarity"][-1] == 1
    assert found["out_of_vocabulary"] == [2, 2]
    assert found["sentence_length"][0] == 1 and found["sentence_length"][2] == 1
    assert drift.add_up([found, found])["out_of_vocabulary"] == [4, 4]


def test_the_manifest_of_examples_gives_the_training_profile():
    manifest = {"sentence_length_histogram": {"2": 10, "300": 1}, "out_of_vocabulary_rate": 0.1}
    found = drift.training_profile(manifest, np.array([2.5]), (0, 5))

    assert found["sentence_length"][1] == 10 and found["sentence_length"][-1] == 1
    assert found["out_of_vocabulary"] == [288, 32]  # 2 · 10 + 300 = 320 tokens, a tenth unknown
    assert found["similarity"][10] == 1
    assert set(drift.training_profile({}, np.array([0.5]), (0, 1))) == {"similarity"}


def test_the_greatest_is_the_drift():
    trained = {"similarity": [900, 100], "sentence_length": [500, 500]}
    found = drift.drift(trained, {"similarity": [100, 900], "sentence_length": [500, 500]})

    assert found["drift"] == found["similarity"] > 1 > found["sentence_length"] == 0
    assert drift.format_drift(found).startswith("drift from training: much")
    assert "unknown" in drift.format_drift(drift.drift({}, trained))
