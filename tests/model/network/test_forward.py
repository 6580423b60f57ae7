"""The packed way against the Keras layers themselves."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from model.network.dropout import dropping
from model.network.forward import distinct_forward, pack
from model.network.siamese import build_siamese
from tests.model.tiny_recipes import recipe
from tests.model.tiny_universal import SMALL, write_weights

# Sentence 0 stands on both sides and twice on one; sentences of 1 to 6 tokens.
IDS1 = np.array([[3, 9, 30, 3, 0, 0], [7, 0, 0, 0, 0, 0], [3, 9, 30, 3, 0, 0]], np.int32)
IDS2 = np.array([[5, 6, 7, 8, 9, 40], [3, 9, 30, 3, 0, 0], [60, 3, 0, 0, 0, 0]], np.int32)
ROWS = [11, 12, 11, 13, 11, 14]  # equal sentences, equal rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_weights(tmp_path_factory.mktemp("universal"))


def build(folder, dropout):
    keras.utils.set_random_seed(3)
    chosen = recipe(
        embedding=None,
        encoder={"kind": "universal", "preset": str(folder), "dropout": dropout},
        comparison={"kind": "absdiff_product", "hidden": [4], "dropout": 0.2},
        text={"tokenizer": "sentencepiece", "vocabulary": "sp.model"},
    )
    siamese = build_siamese(chosen, vocabulary_size=SMALL, trained_ids=np.arange(2, 45))
    return siamese, distinct_forward(siamese, chosen)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_output_and_gradients_are_those_of_the_keras_layers(folder, dropout):
    siamese, packed = build(folder, dropout)
    sides = (tf.constant(IDS1), tf.constant(IDS2))
    found = {}
    for way, forward in {
        "keras": lambda training: siamese.network(sides, training=training),
        "packed": lambda training: packed(sides, training),
    }.items():

        @tf.function
        def both(forward=forward):
            with tf.GradientTape() as tape, dropping(tf.constant(ROWS), tf.constant(4)):
                output = forward(True)
                total = tf.reduce_sum(tf.sin(output))
            return forward(False), output, tape.gradient(total, siamese.network.trainable_variables)

        found[way] = both()
    np.testing.assert_allclose(found["packed"][0], found["keras"][0], atol=1e-5)
    np.testing.assert_allclose(found["packed"][1], found["keras"][1], atol=1e-5)
    for ours, theirs in zip(found["packed"][2], found["keras"][2], strict=True):
        ours, theirs = tf.convert_to_tensor(ours), tf.convert_to_tensor(theirs)
        np.testing.assert_allclose(ours, theirs, atol=2e-4, rtol=1e-3)


def test_sentences_stand_end_to_end_with_gaps_of_two():
    packing = pack(tf.constant([[5, 6, 0], [7, 0, 0]]))

    assert packing.tokens.numpy().tolist() == [5, 6, 0, 0, 7, 0, 0]
    assert packing.real[:, 0].numpy().tolist() == [1, 1, 0, 0, 1, 0, 0]
    assert packing.owner.numpy().tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert packing.times.numpy().tolist() == [0, 1, 2, 3, 0, 1, 2]
