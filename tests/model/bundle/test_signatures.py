from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from model.bundle.signatures import ServingModule
from tests.model.tiny_bundle import SENTENCES, build, ids_of, write_graph
from tests.model.tiny_recipes import recipe

PAIRS = (SENTENCES, [*SENTENCES[1:], SENTENCES[0]])


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    return write_graph(tmp_path_factory.mktemp("graph"), tokenizer="char")


def score(siamese, rules, graph, *, threshold=0.5):
    signature = ServingModule(siamese, rules, str(graph), threshold).signatures()["score"]
    found = signature(*(tf.constant(side) for side in PAIRS))
    return {name: values.numpy() for name, values in found.items()}


def test_several_classes(graph):
    rules = recipe(
        task="classes",
        labels={"classes": ["no", "maybe", "yes"], "similar": "maybe"},
        comparison={"kind": "concat_absdiff", "hidden": [4]},
        loss={"kind": "softmax_crossentropy"},
    )
    siamese = build(rules)
    scores = score(siamese, rules, graph)
    logits = np.asarray(siamese.network([ids_of(graph, side) for side in PAIRS]))
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(scores["probabilities"], expected, atol=1e-5)
    np.testing.assert_allclose(scores["similarity"], expected[:, 1], atol=1e-5)
    np.testing.assert_array_equal(scores["label"], expected.argmax(axis=1))


def test_numbers(graph):
    rules = recipe(
        task="regression",
        labels={"minimum": 1, "maximum": 5},
        encoder={"kind": "cnn", "filters": 4},
        comparison={"kind": "cosine"},
        loss={"kind": "cosine_mse"},
    )
    siamese = build(rules)
    scores = score(siamese, rules, graph, threshold=3.0)
    u, v = (np.asarray(siamese.encoder(ids_of(graph, side))) for side in PAIRS)
    cosines = (u * v).sum(1) / np.linalg.norm(u, axis=1) / np.linalg.norm(v, axis=1)
    np.testing.assert_allclose(scores["similarity"], 3 + 2 * cosines, atol=1e-4)
    np.testing.assert_array_equal(scores["label"], scores["similarity"] >= 3)


@pytest.mark.parametrize("kind", ["contrastive", "triplet"])
def test_losses_on_vectors_score_like_any_other(graph, kind):
    rules = recipe(comparison={"kind": "euclidean"}, loss={"kind": kind})
    siamese = build(rules)
    scores = score(siamese, rules, graph)
    u, v = (np.asarray(siamese.encoder(ids_of(graph, side))) for side in PAIRS)
    expected = np.exp(-np.linalg.norm(u - v, axis=1))
    np.testing.assert_allclose(scores["similarity"], expected, atol=1e-5)
