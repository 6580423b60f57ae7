from __future__ import annotations

import itertools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from model.network.losses import make_loss
from model.network.triplets import LabelledVectors, know_batch, mined_triplets, pairwise, triplets
from tests.model.tiny_recipes import recipe

MARKS = np.arange(100, dtype=np.float32)


def loss_of(kind, comparison, task=None, **options):
    changes = {"comparison": {"kind": comparison}, "loss": {"kind": kind, **options}}
    if task == "regression":
        changes |= {"task": "regression", "labels": {"minimum": 1, "maximum": 5}}
    if task == "classes":
        changes |= {"task": "classes", "labels": {"classes": ["a", "b", "c"]}}
    return make_loss(recipe(**changes))


def vectors(u, v, marks=None):
    """Vectors of both sides as the network gives them, and the sentences' fingerprints."""
    u, v = np.asarray(u, np.float32), np.asarray(v, np.float32)
    marks = MARKS[: 2 * len(u)].reshape(2, -1).T if marks is None else np.asarray(marks)
    return {"u": u, "v": v, "fingerprints": marks}


def test_binary_crossentropy_on_a_logit():
    # sigmoid(0) = 1/2: −ln ½ = 0.693147 for either label.
    # sigmoid(2) = 0.880797: −ln 0.880797 = 0.126928; −ln(1 − 0.880797) = 2.126928.
    losses = loss_of("binary_crossentropy", "l1")([1, 0, 1, 0], [0.0, 0.0, 2.0, 2.0])
    np.testing.assert_allclose(losses, [0.693147, 0.693147, 0.126928, 2.126928], rtol=1e-5)


def test_binary_crossentropy_on_a_distance():
    # The similarity e^−d. d = 2, label 1: −ln e^−2 = 2.
    # d = ln 4: similarity ¼; label 0: −ln ¾ = 0.287682. d = 50, label 1: 50, not cut off.
    losses = loss_of("binary_crossentropy", "manhattan")([1, 0, 1], [-2.0, -math.log(4), -50.0])
    np.testing.assert_allclose(losses, [2, 0.287682, 50], rtol=1e-5)


def test_binary_crossentropy_stays_finite_where_equal_sentences_are_labelled_0():
    # d is held at 1e-7 at least: −ln(1 − e^−1e-7) ≈ −ln 1e-7 = 16.118.
    losses = loss_of("binary_crossentropy", "manhattan")([0, 1], [0.0, 0.0])
    np.testing.assert_allclose(losses, [16.118, 0], atol=1e-3)


@given(
    label=st.sampled_from([0.0, 1.0]),
    logit=st.floats(-30, 30, width=32),
)
def test_binary_crossentropy_is_keras_s(label, logit):
    ours = loss_of("binary_crossentropy", "concat")([label], [logit])
    theirs = keras.losses.binary_crossentropy([[label]], [[logit]], from_logits=True)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_softmax_crossentropy():
    # Logits ln 1, ln 2, ln 5 are probabilities 1/8, 2/8, 5/8.
    # Class 2: −ln 5/8 = 0.470004. Class 0: −ln 1/8 = 2.079442.
    logits = np.log([[1, 2, 5], [1, 2, 5]])
    losses = loss_of("softmax_crossentropy", "concat", "classes")([2, 0], logits)
    np.testing.assert_allclose(losses, [0.470004, 2.079442], rtol=1e-5)


def test_cosine_mse_scales_the_labels():
    # Labels 1…5 to −1…1: 1 → −1, 4 → 0.5. (−1 − 0.2)² = 1.44; (0.5 − 0.2)² = 0.09.
    losses = loss_of("cosine_mse", "cosine", "regression")([1, 4], [0.2, 0.2])
    np.testing.assert_allclose(losses, [1.44, 0.09], rtol=1e-5)
    # To 0…1: 4 → 0.75; (0.75 − 0.2)² = 0.3025.
    losses = loss_of("cosine_mse", "cosine", "regression", low=0, high=1)([4], [0.2])
    np.testing.assert_allclose(losses, [0.3025], rtol=1e-5)


def test_squared_error_of_a_similarity():
    # Manhattan, label 4 of 1…5 → 0.75; e^−ln 2 = 0.5: 0.25² = 0.0625.
    losses = loss_of("mse", "manhattan", "regression")([4], [-math.log(2)])
    np.testing.assert_allclose(losses, [0.0625], rtol=1e-5)
    # A head: sigmoid(0) = 0.5; label 1 of two classes: 0.25.
    np.testing.assert_allclose(loss_of("mse", "l1")([1], [0.0]), [0.25])


def test_contrastive():
    # Euclidean distances 5, 5, 0.5 with margin 2. Similar: 5² = 25.
    # Not similar: beyond the margin 0; inside (2 − 0.5)² = 2.25.
    pairs = vectors([[3, 4], [3, 4], [0.3, 0.4]], np.zeros((3, 2)))
    losses = loss_of("contrastive", "euclidean", margin=2)([1, 0, 0], pairs)
    np.testing.assert_allclose(losses, [25, 0, 2.25], rtol=1e-5)


def test_contrastive_with_the_cosine_distance():
    # 1 − cos of right angles is 1: similar 1, not similar (1.5 − 1)² = 0.25.
    pairs = vectors([[1, 0], [1, 0]], [[0, 2], [0, 2]])
    losses = loss_of("contrastive", "cosine", margin=1.5)([1, 0], pairs)
    np.testing.assert_allclose(losses, [1, 0.25], rtol=1e-5)


def test_given_triplets():
    # 1 − 3 + 1 = −1 → 0; 2 − 1 + 1 = 2; 1 − 1.5 + 1 = 0.5.
    losses = triplets(np.array([1.0, 2, 1]), np.array([3.0, 1, 1.5]), margin=1)
    np.testing.assert_allclose(losses, [0, 2, 0.5])


def test_given_triplets_of_a_batch_lie_in_its_two_halves():
    # Anchors 0 and 0 with positives at 1 and 2, then the same anchors with negatives at 3 and 1.
    # 1 − 3 + 1 = −1 → 0; 2 − 1 + 1 = 2; the second half says nothing of its own.
    pairs = vectors([[0], [0], [0], [0]], [[1], [2], [3], [1]])
    losses = loss_of("triplet", "euclidean", margin=1, mining="given")([1, 1, 0, 0], pairs)
    np.testing.assert_allclose(losses, [0, 2, 0, 0], atol=1e-6)


# On a line: pair A (0, 1), pair B (3, 7), both labelled 1, margin 1.
LINE = vectors([[0], [3]], [[1], [7]])


def test_semi_hard_triplets():
    # Anchor 0, positive at 1: negatives at 3 and 7; nearest beyond 1 is 3: max(0, 1−3+1) = 0.
    # Anchor 1, positive at 1: negatives at 2 and 6: 1 − 2 + 1 = 0.
    # Anchor 3, positive at 4: negatives at 3 and 2, none beyond 4, so the farthest, 3: 4−3+1 = 2.
    # Anchor 7, positive at 4: negatives at 7 and 6; nearest beyond 4 is 6: 4 − 6 + 1 → 0.
    # Pair A: (0 + 0) / 2 = 0; pair B: (2 + 0) / 2 = 1.
    losses = loss_of("triplet", "euclidean", margin=1, mining="semi_hard")([1, 1], LINE)
    np.testing.assert_allclose(losses, [0, 1], atol=1e-5)


def test_batch_hard_triplets():
    # Nearest negatives: of 0 at 3, of 1 at 2, of 3 at 2, of 7 at 6.
    # Pair A: max(0, 1−3+1) = 0 and 1−2+1 = 0 → 0; pair B: 4−2+1 = 3 and max(0, 4−6+1) = 0 → 1.5.
    losses = loss_of("triplet", "euclidean", margin=1, mining="batch_hard")([1, 1], LINE)
    np.testing.assert_allclose(losses, [0, 1.5], atol=1e-5)


def test_batch_hard_takes_the_farthest_of_the_group():
    # 0 ~ 1 and 0 ~ 4 (sentence 0 twice: one mark), and a pair (6, 9) labelled 0.
    # Groups {0, 1, 4}, {6}, {9}. Farthest of the group: of 0 at 4, of 1 at 3, of 4 at 4.
    # Nearest negatives: of 0 at 6, of 1 at 5, of 4 at 2.
    # Margin 3: pair (0, 1): 4−6+3 = 1, 3−5+3 = 1 → 1; pair (0, 4): 1 and 4−2+3 = 5 → 3.
    pairs = vectors([[0], [0], [6]], [[1], [4], [9]], marks=[[1, 2], [1, 3], [4, 5]])
    losses = loss_of("triplet", "euclidean", margin=3, mining="batch_hard")([1, 1, 0], pairs)
    np.testing.assert_allclose(losses, [1, 3, 0], atol=1e-5)


@pytest.mark.parametrize("mining", ["semi_hard", "batch_hard"])
def test_a_batch_without_a_negative_has_no_triplet(mining):
    pairs = vectors([[0], [0]], [[3], [5]], marks=[[1, 2], [1, 3]])
    losses = loss_of("triplet", "euclidean", margin=1, mining=mining)([1, 1], pairs)
    np.testing.assert_allclose(losses, [0, 0])


@pytest.mark.parametrize("mining", ["semi_hard", "batch_hard"])
def test_made_up_pairs_are_no_negatives(mining):
    # The second pair has weight 0: nothing is left to push away from.
    weights = np.array([1, 0], np.float32)
    loss = loss_of("triplet", "euclidean", margin=1, mining=mining)
    np.testing.assert_allclose(loss([1, 0], LINE, weights), [0, 0])


def brute_groups(labels, marks):
    """Connected sentences by plain search."""
    count = len(labels)
    flat = [*marks[:, 0], *marks[:, 1]]
    edges = [(i, i + count) for i in range(count) if labels[i]]
    edges += [(i, j) for i, j in itertools.combinations(range(2 * count), 2) if flat[i] == flat[j]]
    group = list(range(2 * count))
    for _ in range(2 * count):
        for i, j in edges:
            group[i] = group[j] = min(group[i], group[j])
    return group, flat


def brute_triplets(labels, x, marks, mining, margin):
    """The triplet loss with loops, in NumPy."""
    count = len(labels)
    group, flat = brute_groups(labels, marks)
    distance = np.linalg.norm(x[:, None] - x[None, :], axis=-1)
    losses = np.zeros(2 * count)
    for a in range(2 * count):
        partner = (a + count) % (2 * count)
        if not labels[a % count]:
            continue
        unlike = {j for j in range(2 * count) if group[j] != group[a]}
        if not unlike:
            continue
        to_positive = distance[a, partner]
        if mining == "batch_hard":
            fellows = [j for j in range(2 * count) if group[j] == group[a] and flat[j] != flat[a]]
            to_positive = max([distance[a, j] for j in fellows], default=to_positive)
            to_negative = min(distance[a, j] for j in unlike)
        else:
            beyond = [distance[a, j] for j in unlike if distance[a, j] > to_positive]
            to_negative = min(beyond) if beyond else max(distance[a, j] for j in unlike)
        losses[a] = max(0, to_positive - to_negative + margin)
    return losses.reshape(2, count).mean(axis=0)


@pytest.mark.parametrize("mining", ["semi_hard", "batch_hard"])
@pytest.mark.parametrize("seed", range(8))
def test_mining_agrees_with_loops(mining, seed):
    rng = np.random.default_rng(seed)
    sentences, count = 14, 10
    chosen = rng.integers(0, sentences, (count, 2))
    labels = rng.integers(0, 2, count).astype(np.float32)
    # Labels 0 inside a group are another test's.
    group, _ = brute_groups(labels, chosen)
    inside = [group[i] == group[i + count] for i in range(count)]
    labels = np.where(inside, 1, labels).astype(np.float32)
    x = rng.normal(size=(sentences, 3)).astype(np.float32)
    u, v = x[chosen[:, 0]], x[chosen[:, 1]]
    pairs = LabelledVectors(u, v, chosen, labels)
    ours = mined_triplets(pairs, kind="euclidean", mining=mining, margin=0.7)
    theirs = brute_triplets(labels, np.concatenate([u, v]), chosen, mining, 0.7)
    np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_groups_are_what_a_batch_connects():
    # Sentences: pairs (a, b) 1, (b, c) 1, (d, e) 0, (a, d) 1, (a, c) 0.
    # a–b–c–d are one group, e another. (a, c) are labelled 0, so negatives for all that.
    marks = np.array([["a", "b"], ["b", "c"], ["d", "e"], ["a", "d"], ["a", "c"]])
    marks = np.vectorize(ord)(marks).astype(np.float32)
    pairs = LabelledVectors(None, None, marks, np.array([1, 1, 0, 1, 0]))
    positive, negative = (np.asarray(x) for x in know_batch(pairs))
    a, b, c, d, e = 0, 5, 6, 2, 7  # where they stand first: sides 1 are 0…4, sides 2 are 5…9
    assert positive[a, b] and positive[b, c] and positive[c, d] and positive[a, c]
    assert negative[[a, b, c, d], e].all() and negative[e, [a, b, c, d]].all()
    assert negative[4, 9] and not positive[4, 9]  # the pair (a, c) itself
    assert not positive[0, 3] and not negative[0, 3]  # a and a
    assert not (positive & negative).any()


@pytest.mark.parametrize("kind", ["manhattan", "euclidean", "cosine"])
def test_all_distances_at_once_are_the_distances_one_by_one(kind):
    x = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
    expected = {
        "manhattan": lambda a, b: np.abs(a - b).sum(),
        "euclidean": lambda a, b: np.linalg.norm(a - b),
        "cosine": lambda a, b: 1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b),
    }[kind]
    table = [[expected(a, b) for b in x] for a in x]
    np.testing.assert_allclose(pairwise(kind, x), table, atol=2e-3 if kind == "euclidean" else 1e-5)


ALL = [
    ("binary_crossentropy", "manhattan", {}),
    ("binary_crossentropy", "l1", {}),
    ("mse", "euclidean", {}),
    ("cosine_mse", "cosine", {}),
    ("contrastive", "euclidean", {}),
    ("triplet", "euclidean", {"mining": "semi_hard"}),
    ("triplet", "cosine", {"mining": "batch_hard"}),
]


@pytest.mark.parametrize(("kind", "comparison", "options"), ALL)
def test_weights_multiply_and_gradients_are_finite(kind, comparison, options):
    loss = loss_of(kind, comparison, **options)
    rng = np.random.default_rng(0)
    watched = [-rng.random(6).astype(np.float32)]
    if kind in ("contrastive", "triplet"):
        watched = list(rng.normal(size=(2, 6, 3)).astype(np.float32))
    watched = [tf.Variable(value) for value in watched]
    output = watched[0]
    if len(watched) == 2:
        output = {**dict(zip("uv", watched, strict=True)), "fingerprints": MARKS[:12].reshape(6, 2)}
    labels = np.array([1, 0, 1, 1, 0, 0], np.float32)
    with tf.GradientTape() as tape:
        plain = loss(labels, output, None)
    gradient = np.stack(tape.gradient(plain, watched))
    assert plain.shape == (6,) and np.isfinite(plain).all() and np.isfinite(gradient).all()
    np.testing.assert_allclose(loss(labels, output, np.full(6, 0.5, np.float32)), plain * 0.5)
