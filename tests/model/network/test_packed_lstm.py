from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from model.network.dropout import dropping
from model.network.forward import packed_forward
from model.network.packed_lstm import pack
from model.network.siamese import build_siamese
from model.recipe.reading import parse_recipe
from tests.model.training.test_fitting import TINY

IDS1 = np.array([[3, 4, 5, 6, 7], [3, 0, 0, 0, 0], [9, 9, 2, 0, 0], [1, 5, 0, 0, 0]], np.int32)
IDS2 = np.array([[8, 0, 0, 0], [2, 2, 3, 4], [5, 6, 0, 0], [7, 7, 7, 0]], np.int32)


def twins(**changes):
    keras.utils.set_random_seed(3)
    encoder = {"kind": "bilstm", "units": [5, 4], "dropout": 0.3} | changes.pop("encoder", {})
    recipe = parse_recipe(TINY | {"encoder": encoder} | changes, source="here")
    siamese = build_siamese(recipe, vocabulary_size=10)
    for variable in siamese.network.trainable_variables:  # biases, too
        variable.assign(np.random.default_rng(variable.shape[0]).normal(0, 0.6, variable.shape))
    return siamese, packed_forward(siamese, recipe)


CASES = {
    "last": {},
    "mean and max": {"encoder": {"units": [3], "pooling": "mean_max"}},
    "embedding dropout, loss on vectors": {
        "encoder": {"units": [3]},
        "embedding": {"dimensions": 8, "dropout": 0.4},
        "loss": {"kind": "contrastive"},
    },
    "no dropout, attention, head": {
        "encoder": {"units": [3], "dropout": 0.0, "pooling": "attention"},
        "comparison": {"kind": "absdiff_product", "hidden": [4], "dropout": 0.2},
    },
}


def joined(output):
    """The output as one tensor: for losses on vectors, those of both sides."""
    return tf.concat([output["u"], output["v"]], axis=1) if isinstance(output, dict) else output


@pytest.mark.parametrize("case", CASES)
def test_output_and_gradients_are_those_of_the_keras_layers(case):
    siamese, packed = twins(**CASES[case])
    sides = (tf.constant(IDS1), tf.constant(IDS2))
    ways = {
        "keras": lambda training: joined(siamese.network(sides, training=training)),
        "packed": lambda training: joined(packed(sides, training)),
    }
    found = {}
    for way, forward in ways.items():

        @tf.function
        def both(forward=forward):
            with tf.GradientTape() as tape, dropping(tf.range(8) * 11, tf.constant(4)):
                output = forward(True)
                total = tf.reduce_sum(tf.sin(output))
            return forward(False), output, tape.gradient(total, siamese.network.trainable_variables)

        found[way] = both()
    np.testing.assert_allclose(found["packed"][0], found["keras"][0], atol=1e-5)
    np.testing.assert_allclose(found["packed"][1], found["keras"][1], atol=1e-5)
    for ours, theirs in zip(found["packed"][2], found["keras"][2], strict=True):
        ours, theirs = tf.convert_to_tensor(ours), tf.convert_to_tensor(theirs)
        np.testing.assert_allclose(ours, theirs, atol=2e-4, rtol=1e-4)


def test_tokens_are_packed_step_by_step_from_the_longest_row_on():
    packing = pack(tf.constant([[5, 6, 0], [7, 0, 0], [2, 3, 4]]))
    # rows by length: 2, 0, 1; step 0 has all three, step 1 two, step 2 one
    assert packing.order.numpy().tolist() == [2, 0, 1]
    assert packing.active.numpy().tolist() == [3, 2, 1]
    assert packing.starts.numpy().tolist() == [0, 3, 5, 6]
    assert packing.rows.numpy().tolist() == [0, 1, 2, 0, 1, 0]
    assert packing.times.numpy().tolist() == [0, 0, 0, 1, 1, 2]
    # row 2's tokens stand at 0, 3, 5: backwards 5, 3, 0; row 0's at 1, 4; row 1's at 2
    assert packing.mirror.numpy().tolist() == [5, 4, 2, 3, 1, 0]
