"""Numbers by hand, then loops in NumPy as the oracle."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from model.network.batch_losses import angle, multiple_negatives, online_contrastive, ranking
from model.network.losses import make_loss
from model.network.triplets import LabelledVectors
from tests.model.tiny_recipes import recipe
from transforms.errors import UserError

COSINE = {"comparison": {"kind": "cosine"}}
KINDS = ("multiple_negatives", "cosent", "angle", "online_contrastive")


def loss_of(kind, **options):
    return make_loss(recipe(**COSINE, loss={"kind": kind, **options}))


def sides(u, v, marks=None):
    u, v = np.asarray(u, np.float32), np.asarray(v, np.float32)
    marks = np.arange(2 * len(u)).reshape(2, -1).T if marks is None else np.asarray(marks)
    return {"u": u, "v": v, "fingerprints": marks}


def negatives(u, v, labels, marks=None, weights=None, temperature=0.5):
    pairs = LabelledVectors(
        **sides(u, v, marks), labels=np.float32(labels), weights=weights and np.float32(weights)
    )
    return np.asarray(multiple_negatives(pairs, temperature=temperature))


# Unit vectors along the axes: u1 = v1 = x, u2 = v2 = y. Cosines 1 with the partner, else 0; by the
# temperature ½ they are 2 and 0.
X, Y = [1.0, 0.0], [0.0, 1.0]


def test_each_sentence_chooses_its_partner_among_the_batch():
    # −ln e²/(e² + 1) = ln(1 + e^−2) = 0.126928, forth and back alike.
    np.testing.assert_allclose(negatives([X, Y], [X, Y], [1, 1]), [0.126928] * 2, rtol=1e-5)
    # Length does not matter.
    np.testing.assert_allclose(
        negatives([[5, 0], Y], [X, [0, 9]], [1, 1]), [0.126928] * 2, rtol=1e-5
    )


def test_a_pair_labelled_0_lends_its_sentences_as_negatives_and_has_no_loss():
    # Pair 2 (x, y), labelled 0. Anchor u1 = x among v1 = x, v2 = y: ln(1 + e^−2) = 0.126928.
    # Back: v1 = x among u1 = x, u2 = x: ln 2 = 0.693147. The mean is 0.410038.
    np.testing.assert_allclose(negatives([X, X], [X, Y], [1, 0]), [0.410038, 0], rtol=1e-5)


def test_what_is_known_to_be_similar_is_no_negative():
    # Sentence 1 stands in two pairs labelled 1, (1, 2) and (1, 3): so 2 and 3 are similar as well,
    # and nothing is left to choose from. Were they negatives, each pair would lose ln 2 forth.
    marks = [[1, 2], [1, 3]]
    np.testing.assert_allclose(negatives([X, X], [X, X], [1, 1], marks), [0, 0], atol=1e-6)
    assert negatives([X, X], [X, X], [1, 1]) == pytest.approx([math.log(2)] * 2)


def test_a_made_up_pair_is_nobody_s_negative():
    np.testing.assert_allclose(negatives([X, X], [X, X], [1, 1], weights=[1, 0])[0], 0, atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_multiple_negatives_agree_with_loops(seed):
    rng = np.random.default_rng(seed)
    u, v = rng.normal(size=(2, 6, 3))
    labels = np.array([1, 0, 1, 1, 0, 1])
    cosines = (u / np.linalg.norm(u, axis=1)[:, None]) @ (v / np.linalg.norm(v, axis=1)[:, None]).T

    def chosen(row, own):  # all marks differ, so all others are negatives
        return -math.log(math.exp(row[own] / 0.1) / sum(math.exp(each / 0.1) for each in row))

    expected = [
        y * (chosen(cosines[n], n) + chosen(cosines[:, n], n)) / 2 for n, y in enumerate(labels)
    ]
    found = negatives(u, v, labels, temperature=0.1)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_cosent_by_hand():
    # Similarities 0.5 (label 1), 0.7 (0), 0.1 (0), scale 10: ln(1 + e^2 + e^−4) = 2.129101.
    losses = ranking(np.float32([0.5, 0.7, 0.1]), np.float32([1, 0, 0]), scale=10)
    np.testing.assert_allclose(losses, [math.log(1 + math.e**2 + math.e**-4)] * 3, rtol=1e-6)
    assert float(losses[0]) == pytest.approx(2.129101, abs=1e-5)
    # In order already, and one label only: nothing, or next to nothing.
    assert ranking(np.float32([0.9, 0.1]), np.float32([1, 0]), scale=20)[0] < 1e-6
    assert ranking(np.float32([0.9, 0.1]), np.float32([1, 1]), scale=20)[0] == 0
    # The second is made up.
    masked = ranking(
        np.float32([0.5, 0.7, 0.1]), np.float32([1, 0, 0]), np.float32([1, 0, 1]), scale=10
    )
    np.testing.assert_allclose(masked, [math.log(1 + math.e**-4)] * 3, rtol=1e-4)


def test_cosent_orders_numbers_too():
    # Labels 3 > 2 > 1: the pairs (3, 2), (3, 1), (2, 1) count, each by its difference of cosines.
    cosines, labels = [0.2, 0.6, 0.3], [3, 1, 2]
    expected = math.log(1 + sum(math.exp(20 * d) for d in (0.6 - 0.2, 0.3 - 0.2, 0.6 - 0.3)))
    unit = [[c, math.sqrt(1 - c * c)] for c in cosines]
    numbers = {"task": "regression", "labels": {"minimum": 1, "maximum": 3}}
    loss = make_loss(recipe(**COSINE, **numbers, loss={"kind": "cosent"}))
    np.testing.assert_allclose(loss(labels, sides([X] * 3, unit)), [expected] * 3, rtol=1e-5)


def test_the_angle_is_a_quotient_of_complex_numbers():
    # u = 1 + 2i, v = 3 + 4i: u / v = (11 + 2i) / 25. Lengths √5 and 5 taken out:
    # (11 + 2) / 25 · 5 / √5 = 13 / (5 √5) = 1.162755.
    found = angle(np.float32([[1, 2]]), np.float32([[3, 4]]))
    np.testing.assert_allclose(found, [13 / (5 * math.sqrt(5))], rtol=1e-6)
    rng = np.random.default_rng(0)
    u, v = rng.normal(size=(2, 4, 6)).astype(np.float32)
    quotient = (u[:, :3] + 1j * u[:, 3:]) * np.conj(v[:, :3] + 1j * v[:, 3:])
    total = quotient.sum(axis=1)
    expected = np.abs(total.real + total.imag)
    expected /= np.linalg.norm(u, axis=1) * np.linalg.norm(v, axis=1)
    np.testing.assert_allclose(angle(u, v), expected, rtol=1e-5)


def test_angle_adds_the_cosines_by_their_weight_and_needs_even_vectors():
    given = sides(np.eye(4)[:3], [[1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 0]])
    labels = [1, 0, 0]
    plain, both = (loss_of("angle", cosine_weight=w)(labels, given) for w in (0, 0.5))
    cosines = loss_of("cosent")(labels, given)
    np.testing.assert_allclose(both, plain + 0.5 * cosines, rtol=1e-6)
    with pytest.raises(UserError, match="even length; the encoder's have 3"):
        loss_of("angle")([1], sides(np.ones((1, 3)), np.ones((1, 3))))


def test_online_contrastive_counts_hard_pairs_only():
    # Similar at 0.1 and 0.6, others at 0.3 and 0.9; margin 1. Of the similar only 0.6 is beyond the
    # nearest other (0.3): 0.36. Of the others only 0.3 is within the farthest similar: 0.7² = 0.49.
    distances, labels = np.float32([0.1, 0.6, 0.3, 0.9]), np.float32([1, 1, 0, 0])
    losses = online_contrastive(distances, labels, margin=1)
    np.testing.assert_allclose(losses, [0, 0.36, 0.49, 0], rtol=1e-5)
    # Without the other at 0.3 nothing is hard; with one label only all are.
    found = online_contrastive(distances, labels, np.float32([1, 1, 0, 1]), margin=1)
    np.testing.assert_allclose(found, [0, 0, 0, 0])
    found = online_contrastive(distances, np.ones(4, np.float32), margin=1)
    np.testing.assert_allclose(found, distances**2)
    found = online_contrastive(distances, np.zeros(4, np.float32), margin=1)
    np.testing.assert_allclose(found, (1 - distances) ** 2, rtol=1e-6)


@pytest.mark.parametrize("kind", [*KINDS, "contrastive", "triplet"])
def test_nested_losses_are_means_over_first_floats(kind):
    rng = np.random.default_rng(1)
    u, v = rng.normal(size=(2, 5, 8)).astype(np.float32)
    labels = np.float32([1, 0, 1, 0, 1])
    plain = loss_of(kind)
    expected = np.mean([plain(labels, sides(u[:, :n], v[:, :n])) for n in (2, 4, 8)], axis=0)
    found = loss_of(kind, matryoshka=[4, 2])(labels, sides(u, v))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    with pytest.raises(UserError, match="loss.matryoshka: vectors have 8 floats; received 9"):
        loss_of(kind, matryoshka=[9])(labels, sides(u, v))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_finite_even_at_zero_vectors_and_weights_multiply(kind):
    rng = np.random.default_rng(0)
    u, v = rng.normal(size=(2, 6, 4)).astype(np.float32)
    u[0] = v[1] = 0
    u, v = tf.Variable(u), tf.Variable(v)
    labels, half = np.float32([1, 1, 0, 0, 1, 0]), np.full(6, 0.5, np.float32)
    with tf.GradientTape() as tape:
        given = {"u": u, "v": v, "fingerprints": np.arange(12).reshape(6, 2)}
        losses = loss_of(kind)(labels, given)
    assert losses.shape == (6,)
    assert all(np.isfinite(g).all() for g in tape.gradient(losses, [u, v]))
    np.testing.assert_allclose(loss_of(kind)(labels, given, half), losses * 0.5, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_what_they_can_judge_is_checked(kind):
    with pytest.raises(UserError, match=f"comparison.kind: loss {kind} needs"):
        recipe(comparison={"kind": "l1"}, loss={"kind": kind})
