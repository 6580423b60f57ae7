"""The cut that `benchmarks.untrained` chooses, by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchmarks.untrained import balanced_accuracy, read_labels, similarities


def test_balanced_accuracy_is_the_mean_over_both_classes():
    similar, labels = np.array([0.9, 0.6, 0.7, 0.2, 0.1]), np.array([1, 1, 0, 0, 0], bool)

    # From 0.6: both similar, two of three others. From 0.9: one of two, and all three.
    found = balanced_accuracy(similar, labels, np.array([0.0, 0.6, 0.9, 1.0]))
    np.testing.assert_allclose(found, [1 / 2, (1 + 2 / 3) / 2, (1 / 2 + 1) / 2, 1 / 2])


def test_a_relatedness_of_three_is_similar():
    assert read_labels(pd.DataFrame({"relatedness": [2.9, 3.0]})).tolist() == [False, True]
    assert read_labels(pd.DataFrame({"label": ["0", "1"]})).tolist() == [False, True]


def test_pairs_keep_their_places():
    class Lengths:
        def score(self, first, second):
            return {
                "similarity": np.array(
                    [len(a) / len(b) for a, b in zip(first, second, strict=True)]
                )
            }

    table = pd.DataFrame({"sentence1": ["aaaa", "a", "aa"], "sentence2": ["b", "bb", "bbbb"]})
    assert similarities(Lengths(), table).tolist() == [4, 0.5, 0.5]
