from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from model.network.losses import make_loss
from model.training.step_batches import as_pairs
from model.training.steps import losses_of, make_eval_step
from tests.model.tiny_recipes import recipe


@pytest.mark.parametrize("kind", ["ids", "text"])
def test_triplets_become_pairs_with_their_positives_and_then_with_their_negatives(kind):
    sides = [[[3, 4], [5, 0]], [[6, 0], [7, 8]], [[9, 9], [2, 0]]]
    if kind == "text":
        sides = [["a", "b"], ["c", "d"], ["e", "f"]]
    batch = {f"{kind}{number}": tf.constant(side) for number, side in enumerate(sides, start=1)}
    batch |= {"label": tf.ones(2), "row": tf.constant([0, 1]), "weight": tf.constant([1.0, 0.0])}
    pairs = {name: np.asarray(value) for name, value in as_pairs(batch).items()}
    anchors, positives, negatives = (np.asarray(batch[f"{kind}{side}"]) for side in (1, 2, 3))
    np.testing.assert_array_equal(pairs[f"{kind}1"], np.concatenate([anchors, anchors]))
    np.testing.assert_array_equal(pairs[f"{kind}2"], np.concatenate([positives, negatives]))
    assert pairs["label"].tolist() == [1, 1, 0, 0]
    assert pairs["weight"].tolist() == [1, 0, 1, 0]
    assert len(set(pairs["row"])) == 4  # each drops out other components
    assert set(pairs) == {f"{kind}1", f"{kind}2", "label", "row", "weight"}


def test_pairs_stay_as_they_are():
    batch = {"ids1": tf.constant([[1]]), "ids2": tf.constant([[2]])}
    assert as_pairs(batch) is batch


def test_a_sentence_is_not_its_own_negative_where_tokens_are_hidden():
    # The first sentence stands in both pairs, and its tokens are hidden otherwise in each.
    rules = recipe(comparison={"kind": "euclidean"}, loss={"kind": "triplet"})
    batch = {
        "ids1": tf.constant([[3, 4, 5], [3, 4, 5]]),
        "ids2": tf.constant([[6, 7, 0], [8, 0, 0]]),
        "label": tf.ones(2),
        "weight": tf.ones(2),
    }
    seen = {}

    def loss(labels, output, weights):
        seen.update(output)
        return labels

    losses_of(rules, loss, batch, {"u": tf.zeros([2, 1]), "v": tf.zeros([2, 1])})
    marks = seen["fingerprints"].numpy()
    assert marks[0, 0] == marks[1, 0] and len({*marks.ravel()}) == 3


@pytest.mark.parametrize("kind", ["ids", "text"])
def test_evaluation_keeps_a_few_numbers_a_pair_however_long_its_vectors_are(kind):
    rules = recipe(comparison={"kind": "euclidean"}, loss={"kind": "triplet", "mining": "given"})
    sides = {"ids": [[2]], "text": ["a"]}[kind]
    batch = {f"{kind}{side}": tf.constant(sides) for side in (1, 2, 3)}
    batch |= {"label": tf.ones(1), "row": tf.zeros(1, tf.int32), "weight": tf.ones(1)}
    # Distances 3 to the positive and 4 to the negative: 3 − 4 + 1 = 0; to be compared by e^−d.
    vectors = {
        "u": tf.zeros([2, 100]),
        "v": tf.pad(tf.constant([[3.0], [4.0]]), [[0, 0], [0, 99]]),
    }
    step = make_eval_step(
        tf.distribute.get_strategy(),
        rules,
        lambda sides, training: vectors,
        make_loss(rules),
        element_spec={name: tf.TensorSpec.from_tensor(value) for name, value in batch.items()},
    )
    found = {name: value.numpy() for name, value in step(batch).items()}
    assert {name: value.shape for name, value in found.items()} == dict.fromkeys(
        ("similarity", "label", "loss", "weight"), (2,)
    )
    np.testing.assert_allclose(found["similarity"], np.exp([-3, -4]), rtol=1e-5)
