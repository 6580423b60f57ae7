"""What speaks for a label: beside dense matrices in plain NumPy, and never the label itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from transforms.labelling import evidence
from transforms.labelling.labelled_pairs import LabelledPairs, by_rarity, character_grams

SENTENCES = 12


def some_pairs(seed: int = 0, rows: int = 40) -> LabelledPairs:
    random = np.random.default_rng(seed)
    ends = [random.integers(0, SENTENCES, rows) for _ in range(2)]
    sides = [[f"sentence {chr(97 + n)}{n % 5}" for n in side] for side in ends]
    pairs = LabelledPairs.from_columns(*sides, random.integers(0, 2, rows))
    vectors = random.normal(size=(len(pairs.texts), 4)).astype(np.float32)
    return replace(pairs, vectors=vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def dense(pairs: LabelledPairs, values: np.ndarray) -> np.ndarray:
    found = np.zeros((len(pairs.texts),) * 2)
    for one, other, value in zip(pairs.first, pairs.second, values, strict=True):
        if one != other:
            found[one, other] += value
            found[other, one] += value
    return found


def test_neighbours_say_what_dense_matrices_say():
    pairs = some_pairs()
    trust = np.linspace(0.2, 1, len(pairs.label)).astype(np.float32)
    near = evidence.nearest_sentences(pairs)
    s = near.toarray()
    found = evidence.neighbour_evidence(pairs, near, trust)
    at = pairs.first, pairs.second
    for place, values in enumerate([trust * (2 * pairs.label - 1), trust]):
        m = dense(pairs, values)
        one, both = found[2 * place], found[2 * place + 1]
        np.testing.assert_allclose(one, (s @ m + m @ s)[at], atol=1e-5)
        np.testing.assert_allclose(both, (s @ m @ s)[at] - s[at] ** 2 * m[at], atol=1e-5)


def test_the_nearest_by_their_cosines(monkeypatch):
    monkeypatch.setattr(evidence, "NEIGHBOURS", 3)
    pairs = some_pairs()
    cosine = pairs.vectors @ pairs.vectors.T
    np.fill_diagonal(cosine, -np.inf)
    order = np.argsort(-cosine, axis=1)[:, :3]
    expected = np.zeros_like(cosine)
    for row, columns in enumerate(order):
        expected[row, columns] = np.exp(8 * (cosine[row, columns] - 1))
    expected = np.maximum(expected, expected.T)

    np.testing.assert_allclose(evidence.nearest_sentences(pairs).toarray(), expected, rtol=1e-5)
    monkeypatch.setattr(evidence, "MOST_SENTENCES", SENTENCES - 1)
    assert evidence.nearest_sentences(pairs) is None


def test_without_vectors_nearest_are_those_that_share_rare_bigrams():
    pairs = LabelledPairs.from_columns(
        ["where is it", "how much"], ["where is it?", "how much?"], np.ones(2)
    )
    near = evidence.nearest_sentences(pairs).toarray()
    where1, how1, where2, how2 = (
        pairs.texts.index(t) for t in ("where is it", "how much", "where is it?", "how much?")
    )
    assert near[where1].argmax() == where2 and near[how1].argmax() == how2


@pytest.mark.parametrize("seed", range(5))
def test_no_label_is_evidence_for_itself(seed: int):
    pairs = some_pairs(seed)
    keys = list(zip(pairs.low, pairs.high, strict=True))
    once = [n for n, key in enumerate(keys) if keys.count(key) == 1]
    trust = np.ones(len(pairs.label), np.float32)
    near = evidence.nearest_sentences(pairs)
    before = everything(pairs, near, trust)
    for place in once:
        label = pairs.label.copy()
        label[place] = 1 - label[place]
        other = replace(pairs, label=label)
        after = everything(other, near, trust)
        for number, (old, new) in enumerate(zip(before, after, strict=True)):
            if number not in (2, 3):  # the rates are drawn to the mean of all labels
                assert old[place] == pytest.approx(new[place], abs=1e-5), number


def everything(pairs: LabelledPairs, near, trust: np.ndarray) -> list[np.ndarray]:
    return [
        *evidence.label_evidence(pairs, trust),
        *evidence.neighbour_evidence(pairs, near, trust),
        *evidence.path_evidence(pairs, near, trust),
    ]


def test_paths_over_pairs_of_the_same_meaning_by_hand():
    # a = x, b = y, x ? y: what x and y are labelled speaks for a and b.
    sides = ["a", "b", "x", "a"], ["x", "y", "y", "b"]
    for last in (0, 1):
        pairs = LabelledPairs.from_columns(*sides, np.array([1, 1, last, 0]))
        signed, count, rate = evidence.path_evidence(pairs, None, np.ones(4, np.float32))
        assert signed[3] == (1 if last else -1) and count[3] == 1
        assert rate[3] == pytest.approx(signed[3] / 1.3)


def test_other_pairs_of_both_sentences_by_hand():
    sides = ["a", "b", "a", "a"], ["b", "c", "c", "d"]
    pairs = LabelledPairs.from_columns(*sides, np.array([1, 1, 0, 1]))
    both, one, low, high, few, many = evidence.label_evidence(pairs, np.ones(4, np.float32))

    # a-b: with c one is the same and the other is not. a-c: both are the same as b.
    assert both.tolist() == [0, 0, 1, 0] and one.tolist() == [1, 1, 0, 0]
    assert (few.tolist(), many.tolist()) == ([1, 1, 1, 0], [2, 1, 2, 2])
    # Of a's other pairs one of two is the same, of b's the one; both drawn to 3/4 by one pair.
    assert (low[0], high[0]) == (pytest.approx((1 + 0.75) / 3), pytest.approx((1 + 0.75) / 2))


def test_grams_are_those_of_the_text():
    texts = ["abc", "abd", "", "花呗"]
    grams = character_grams(texts, 2)

    assert grams.sum(axis=1).A1.tolist() == [2, 2, 1, 1]  # no text is without one
    assert (grams @ grams.T).toarray()[0].tolist() == [2, 1, 0, 0]
    assert np.asarray(by_rarity(grams).power(2).sum(axis=1)).ravel() == pytest.approx(1)


def test_words_that_both_have_and_that_one_has():
    pairs = LabelledPairs.from_columns(["ab", "x"], ["ac", "x"], np.array([0, 1]))
    found = evidence.words_apart(pairs)
    half = found.shape[1] // 2

    # Both have a; b, c, ab and ac are of one. The equal ones share x and its end.
    assert found[:, :half].sum(axis=1).A1.tolist()[0] == 1
    assert found[:, half:].sum(axis=1).A1.tolist() == [4, 0]
