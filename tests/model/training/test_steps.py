from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from model.training.steps import _as_pairs


@pytest.mark.parametrize("kind", ["ids", "text"])
def test_triplets_become_pairs_with_their_positives_and_then_with_their_negatives(kind):
    sides = [[[3, 4], [5, 0]], [[6, 0], [7, 8]], [[9, 9], [2, 0]]]
    if kind == "text":
        sides = [["a", "b"], ["c", "d"], ["e", "f"]]
    batch = {f"{kind}{number}": tf.constant(side) for number, side in enumerate(sides, start=1)}
    batch |= {"label": tf.ones(2), "row": tf.constant([0, 1]), "weight": tf.constant([1.0, 0.0])}
    pairs = {name: np.asarray(value) for name, value in _as_pairs(batch).items()}
    anchors, positives, negatives = (np.asarray(batch[f"{kind}{side}"]) for side in (1, 2, 3))
    np.testing.assert_array_equal(pairs[f"{kind}1"], np.concatenate([anchors, anchors]))
    np.testing.assert_array_equal(pairs[f"{kind}2"], np.concatenate([positives, negatives]))
    assert pairs["label"].tolist() == [1, 1, 0, 0]
    assert pairs["weight"].tolist() == [1, 0, 1, 0]
    assert len(set(pairs["row"])) == 4  # each drops out other components
    assert set(pairs) == {f"{kind}1", f"{kind}2", "label", "row", "weight"}


def test_pairs_stay_as_they_are():
    batch = {"ids1": tf.constant([[1]]), "ids2": tf.constant([[2]])}
    assert _as_pairs(batch) is batch
