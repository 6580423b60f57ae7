from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from model.network.comparisons import Compare, build_comparison, compare, distance
from model.network.siamese import similarity
from model.recipe.checks import doubts
from model.recipe.kinds import COMPARISONS
from tests.model.tiny_recipes import recipe

HEADS = ("l1", "absdiff_product", "concat", "concat_absdiff")
DISTANCES = ("manhattan", "euclidean", "cosine")
LOSS_OF = {"cosine": "cosine_mse"}

# |u−v| = [3, 4]: Manhattan 7, Euclidean 5. u·v = 4·1 + 3·7 = 25, |u| = 5, |v| = √50,
# so the cosine is 25 / (5 · 7.0711) = 0.70711.
U, V = np.array([[4.0, 3.0]], np.float32), np.array([[1.0, 7.0]], np.float32)


def of_kind(kind: str):
    return recipe(comparison={"kind": kind}, loss={"kind": LOSS_OF.get(kind, "contrastive")})


@pytest.mark.parametrize(
    ("kind", "expected"), [("manhattan", -7), ("euclidean", -5), ("cosine", 0.70710678)]
)
def test_measures_worked_out_by_hand(kind, expected):
    np.testing.assert_allclose(compare(kind, U, V), [expected], rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("l1", [-2, -3]),  # 1 − 3, 1 − 4
        ("absdiff_product", [3, 4, 4, 21]),
        ("concat", [4, 3, 1, 7]),
        ("concat_absdiff", [4, 3, 1, 7, 3, 4]),
    ],
)
def test_features_worked_out_by_hand(kind, expected):
    np.testing.assert_allclose(compare(kind, U, V), [expected])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("manhattan", 0.00091188),  # e^−7
        ("euclidean", 0.00673795),  # e^−5
        ("cosine", 0.85355339),  # (1 + 0.70711) / 2
    ],
)
def test_distances_become_similarities(kind, expected):
    output = compare(kind, U, V)
    np.testing.assert_allclose(similarity(of_kind(kind), output), [expected], rtol=1e-5)


@pytest.mark.parametrize("kind", DISTANCES)
def test_equal_vectors_are_alike_and_opposite_ones_are_not(kind):
    same = similarity(of_kind(kind), compare(kind, U, U))
    opposite = similarity(of_kind(kind), compare(kind, 10 * U, -10 * U))
    np.testing.assert_allclose(same, [1], atol=2e-6)
    np.testing.assert_allclose(opposite, [0], atol=1e-6)


def test_the_cosine_of_a_zero_vector_is_zero():
    np.testing.assert_array_equal(compare("cosine", U, np.zeros_like(U)), [0])


@pytest.mark.parametrize("kind", DISTANCES)
def test_the_gradient_at_a_zero_vector_is_zero_or_finite(kind):
    zero, other = tf.Variable(np.zeros((1, 2), np.float32)), tf.constant(V)
    with tf.GradientTape() as tape:
        output = compare(kind, zero, other)
    # Manhattan: the signs of v; Euclidean: v / |v|; a cosine with nothing says nothing.
    expected = {"manhattan": [1, 1], "euclidean": V[0] / np.sqrt(50), "cosine": [0, 0]}[kind]
    np.testing.assert_allclose(tape.gradient(output, zero)[0], expected, rtol=1e-6)


def test_the_gradient_of_the_cosine_is_the_textbook_s():
    # d cos / du = v / |u||v| − cos · u / |u|²: with U and V as above,
    # [1, 7] / 35.3553 − 0.70711 · [4, 3] / 25 = [−0.084853, 0.113137].
    u = tf.Variable(U)
    with tf.GradientTape() as tape:
        output = compare("cosine", u, tf.constant(V))
    np.testing.assert_allclose(tape.gradient(output, u)[0], [-0.0848528, 0.1131371], rtol=1e-5)


vectors = st.lists(st.floats(-100, 100, width=32), min_size=3 * 4, max_size=3 * 4).map(
    lambda numbers: np.array(numbers, np.float32).reshape(3, 4)
)


@pytest.mark.parametrize("kind", [kind for kind, row in COMPARISONS.items() if row.symmetric])
@given(u=vectors, v=vectors)
def test_symmetric_kinds_do_not_care_for_the_order(kind, u, v):
    np.testing.assert_array_equal(compare(kind, u, v), compare(kind, v, u))
    if COMPARISONS[kind].distance:
        np.testing.assert_array_equal(distance(kind, u, v), distance(kind, v, u))


@pytest.mark.parametrize("kind", [*DISTANCES, *HEADS])
def test_the_model_is_symmetric_where_its_kind_says_so(kind):
    loss = "binary_crossentropy" if kind in HEADS else LOSS_OF.get(kind, "contrastive")
    comparison = {"kind": kind} | ({"hidden": [5]} if kind in HEADS else {})
    rules = recipe(comparison=comparison, loss={"kind": loss})
    keras.utils.set_random_seed(1)
    model = build_comparison(rules, 4)
    rng = np.random.default_rng(0)
    u, v = rng.normal(size=(2, 6, 4)).astype(np.float32)
    forward, back = (np.asarray(model([a, b])) for a, b in ((u, v), (v, u)))
    assert forward.shape == (6,)
    assert np.array_equal(forward, back) == rules.symmetric


def test_several_classes_have_an_output_each():
    rules = recipe(
        task="classes",
        labels={"classes": ["a", "b", "c"]},
        comparison={"kind": "concat_absdiff", "hidden": [5], "dropout": 0.5},
        loss={"kind": "softmax_crossentropy"},
    )
    model = build_comparison(rules, 2)
    assert model([U, V]).shape == (1, 3)


def test_a_dense_head_has_the_weights_it_should():
    # [|u−v|, u·v] of 4 floats each: 8·5 + 5 for the hidden layer, 5 + 1 for the logit.
    rules = recipe(comparison={"kind": "absdiff_product", "hidden": [5]})
    assert build_comparison(rules, 4).count_params() == 8 * 5 + 5 + 5 + 1


def test_the_layer_survives_its_config():
    layer = Compare("manhattan")
    again = keras.layers.deserialize(keras.layers.serialize(layer))
    np.testing.assert_array_equal(again(U, V), [-7])


def test_a_headless_concat_cannot_tell_sameness_and_the_checks_say_so():
    # Its logit is f(a) + g(b): pairs of equal sentences and of different ones add up to the same.
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(2, 1, 4)).astype(np.float32)

    def sums(**options):
        keras.utils.set_random_seed(1)
        model = build_comparison(recipe(comparison={"kind": "concat", **options}), 4)
        pairs = ([a, a], [b, b]), ([a, b], [b, a])
        return [float(sum(model(pair)[0] for pair in two)) for two in pairs]

    assert sums()[0] == pytest.approx(sums()[1], abs=1e-5)
    with_layer = sums(hidden=[8])
    assert abs(with_layer[0] - with_layer[1]) > 1e-3
    (doubt,) = doubts(recipe(comparison={"kind": "concat"}))
    assert doubt.startswith("comparison: concat without a hidden layer is f(a) + g(b)")
    for comparison in ({"kind": "concat", "hidden": [8]}, {"kind": "concat_absdiff"}):
        assert not list(doubts(recipe(comparison=comparison)))
