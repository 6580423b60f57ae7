from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from model.network.siamese import build_siamese, fingerprints, similarity
from tests.model.tiny_recipes import recipe

VOCABULARY = 12
IDS1 = np.array([[3, 4, 5], [7, 0, 0]], np.int32)
IDS2 = np.array([[3, 4, 5, 6, 2], [7, 0, 0, 0, 0]], np.int32)

RECIPES = {
    "manhattan": {},
    "head": {"comparison": {"kind": "concat_absdiff", "hidden": [4]}},
    "cosine": {"comparison": {"kind": "cosine"}, "loss": {"kind": "cosine_mse"}},
    "contrastive": {"comparison": {"kind": "euclidean"}, "loss": {"kind": "contrastive"}},
    "triplet": {"comparison": {"kind": "cosine"}, "loss": {"kind": "triplet"}},
}


def build(**changes):
    keras.utils.set_random_seed(2)
    rules = recipe(**changes)
    return rules, build_siamese(rules, vocabulary_size=VOCABULARY)


@pytest.mark.parametrize("name", RECIPES)
def test_the_network_is_encoder_and_comparison(name):
    rules, siamese = build(**RECIPES[name])
    u, v = (siamese.encoder(ids) for ids in (IDS1, IDS2))
    expected = similarity(rules, siamese.comparison([u, v]))
    found = similarity(rules, siamese.network([IDS1, IDS2]))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert ((np.asarray(found) >= 0) & (np.asarray(found) <= 1)).all()


@pytest.mark.parametrize("name", RECIPES)
def test_both_sides_share_every_weight(name):
    _, siamese = build(**RECIPES[name])
    shared = siamese.encoder.weights + siamese.comparison.weights
    assert {id(w) for w in siamese.network.weights} == {id(w) for w in shared}
    assert siamese.network.count_params() == (
        siamese.encoder.count_params() + siamese.comparison.count_params()
    )


def test_the_encoder_is_called_once_for_both_sides():
    _, siamese = build()
    calls = [layer for layer in siamese.network.layers if layer.name == "encoder"]
    assert len(calls) == 1 and len(calls[0]._inbound_nodes) <= 2  # its own, and the network's


@pytest.mark.parametrize("name", ["contrastive", "triplet"])
def test_losses_on_vectors_get_them_by_name(name):
    rules, siamese = build(**RECIPES[name])
    assert rules.loss_kind.on_vectors
    output = siamese.network([IDS1, IDS2])
    assert set(output) == {"u", "v"}
    np.testing.assert_allclose(output["u"], siamese.encoder(IDS1), atol=1e-6)
    np.testing.assert_allclose(output["v"], siamese.encoder(IDS2), atol=1e-6)


def test_no_layer_is_a_lambda_and_the_network_rebuilds_from_json():
    for changes in RECIPES.values():
        _, siamese = build(**changes)
        config = siamese.network.to_json()
        assert "Lambda" not in config
        again = keras.models.model_from_json(config)
        again.set_weights(siamese.network.get_weights())
        found, expected = again([IDS1, IDS2]), siamese.network([IDS1, IDS2])
        keras.tree.map_structure(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, expected
        )


id_lists = st.lists(st.integers(1, 5000), min_size=1, max_size=6)


@given(st.lists(id_lists, min_size=2, max_size=20, unique_by=tuple))
def test_fingerprints_tell_sentences_apart_whatever_their_padding(sentences):
    ids = tf.ragged.constant(sentences, dtype=tf.int32).to_tensor()
    marks = fingerprints(ids).numpy()
    assert len(set(marks)) == len(sentences)
    np.testing.assert_array_equal(fingerprints(tf.pad(ids, [[0, 0], [0, 3]])), marks)


def test_fingerprints_see_the_order_of_tokens_and_text():
    first, second = fingerprints(tf.constant([[3, 4], [4, 3]], tf.int32)).numpy()
    assert first != second
    marks = fingerprints(tf.constant(["ab", "ba", "ab"])).numpy()
    assert marks[0] == marks[2] != marks[1]


def test_similarity_of_several_classes_is_the_similar_one_s_probability():
    rules = recipe(
        task="classes",
        labels={"classes": ["yes", "maybe", "no"], "similar": "yes"},
        comparison={"kind": "concat"},
        loss={"kind": "softmax_crossentropy"},
    )
    # Logits ln 5, ln 2, ln 1: the first class has 5/8.
    np.testing.assert_allclose(similarity(rules, np.log([[5.0, 2, 1]])), [0.625], rtol=1e-6)


@pytest.mark.parametrize(
    ("loss", "cosine", "expected"),
    [
        ({"low": -1, "high": 1}, 0.5, 4.0),  # ¾ of the way from 1 to 5
        ({"low": 0, "high": 1}, 0.5, 3.0),  # half-way
        ({"low": 0, "high": 1}, -0.25, 0.0),  # a raw value may lie outside of the labels
    ],
)
def test_regression_gives_values_on_the_labels_scale(loss, cosine, expected):
    rules = recipe(
        task="regression",
        labels={"minimum": 1, "maximum": 5},
        comparison={"kind": "cosine"},
        loss={"kind": "cosine_mse", **loss},
    )
    np.testing.assert_allclose(similarity(rules, np.float32([cosine])), [expected], atol=1e-6)


def test_a_few_steps_learn_to_tell_pairs_apart():
    # Alike if the first token is the same: accuracy must rise well above chance.
    from model.network.losses import make_loss
    from model.training.optimizers import make_optimizer

    rules, siamese = build(
        encoder={"kind": "bilstm", "units": [8]},
        training={"learning_rate": 0.02},
        comparison={"kind": "absdiff_product", "hidden": [8]},
    )
    rng = np.random.default_rng(0)
    ids1, ids2 = rng.integers(2, VOCABULARY, (2, 256, 3)).astype(np.int32)
    ids2[::2, 0] = ids1[::2, 0]
    labels = (ids1[:, 0] == ids2[:, 0]).astype(np.float32)
    loss, optimizer = make_loss(rules), make_optimizer(rules, 1)
    weights = siamese.network.trainable_variables

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            losses = loss(labels, siamese.network([ids1, ids2], training=True))
            mean = tf.reduce_mean(losses)
        optimizer.apply(tape.gradient(mean, weights), weights)
        return mean

    first = float(step())
    for _ in range(60):
        last = float(step())
    guessed = np.asarray(similarity(rules, siamese.network([ids1, ids2]))) > 0.5
    assert last < first / 2
    assert (guessed == labels).mean() > 0.9
