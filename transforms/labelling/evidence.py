"""What speaks for a label, other than the label itself.

Of the text: shared n-grams, the distance of vectors. Of the other pairs: what each of the two
sentences is labelled elsewhere, what both are with a third one (transitivity), and what nearly the
same pairs are labelled, in which one or both sentences are replaced by their nearest neighbours
(labels of nearest neighbours as evidence: Zhu et al., ICML 2022).
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from transforms.labelling.labelled_pairs import LabelledPairs, by_rarity, character_grams

NEIGHBOURS = 10
MOST_SENTENCES = 100_000  # for nearest neighbours: each is compared with all others
_AT_ONCE = 1_000
_SHARPNESS = 8.0  # a neighbour at cosine c counts exp(8 (c - 1))
_PRIOR = 0.3  # so that one far neighbour does not make a rate of 0 or 1


def text_evidence(pairs: LabelledPairs) -> list[np.ndarray]:
    """Lengths, cosines of n-grams, and the cosine of the vectors where there are some: [n] each."""
    lengths = np.array([len(text) for text in pairs.texts], np.float32)
    one, other = lengths[pairs.first], lengths[pairs.second]
    found = [np.minimum(one, other), np.maximum(one, other)]
    for size in (1, 2, 3):
        weighted = by_rarity(character_grams(pairs.texts, size))
        found.append(pairs.products(weighted, weighted))
    if pairs.vectors is not None:
        found.append(cosines(pairs.vectors, pairs))
    if pairs.similarity is not None:
        found.append(pairs.similarity)
    return found


def cosines(vectors: np.ndarray, pairs: LabelledPairs) -> np.ndarray:
    """Of the two vectors of each pair: [n]."""
    found = np.empty(len(pairs.first), np.float32)
    for start in range(0, len(found), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        found[part] = (vectors[pairs.first[part]] * vectors[pairs.second[part]]).sum(axis=1)
    return found


def label_evidence(pairs: LabelledPairs, trust: np.ndarray) -> list[np.ndarray]:
    """What the other pairs of both sentences are labelled: [n] each.

    Args:
        pairs: the labelled pairs.
        trust: how much each label counts as evidence: float32 [n], 0 to 1.
    """
    same = pairs.matrix(trust * (pairs.label == 1))
    apart = pairs.matrix(trust * (pairs.label == 0))
    # Neither matrix has a diagonal, so no path a → b → b leads over the pair's own label.
    both = pairs.products(same, same)
    one = pairs.products(same, apart) + pairs.products(apart, same)
    ends = np.concatenate([pairs.first, pairs.second])
    size = len(pairs.texts)
    count = np.bincount(ends, weights=np.tile(trust, 2), minlength=size)
    yes = np.bincount(ends, weights=np.tile(trust * pairs.label, 2), minlength=size)
    base = pairs.label.mean()
    rates, counts = [], []
    for side in (pairs.first, pairs.second):  # each without this pair, drawn to the mean
        others = count[side] - trust
        rates.append((yes[side] - trust * pairs.label + base) / (others + 1))
        counts.append(others)
    return [both, one, *_sorted(*rates), *_sorted(*counts)]


def neighbour_evidence(
    pairs: LabelledPairs, near: sparse.csr_matrix, trust: np.ndarray
) -> list[np.ndarray]:
    """What pairs are labelled in which one sentence, or both, is a nearest neighbour: [n] each.

    With S the neighbours of sentences and M the labels (same 1, not -1), S M + M S, and S M S,
    without the pair's own label; the same of the numbers of labels, and the rates.
    """
    # S has no diagonal, so S M + M S do not touch the pair's own label; S M S does, by the path
    # a → b → a → b, whose weight is S[a, b]².
    own = np.asarray(near[pairs.first, pairs.second]).ravel() ** 2
    found = []
    for values in (trust * (2 * pairs.label - 1), trust):
        labels = pairs.matrix(values.astype(np.float32))
        mine = np.asarray(labels[pairs.first, pairs.second]).ravel()
        found.append(pairs.products(near, labels) + pairs.products(labels, near))
        found.append(pairs.products(sparse.csr_matrix(near @ labels), near) - own * mine)
    one, both, one_count, both_count = found
    rates = [one / (one_count + _PRIOR), both / (both_count + _PRIOR)]
    return [one, both, one_count, both_count, *rates]


def path_evidence(
    pairs: LabelledPairs, near: sparse.csr_matrix | None, trust: np.ndarray
) -> list[np.ndarray]:
    """What pairs are labelled whose sentences are labelled the same as both of this one: [n] each.

    With A the pairs labelled same, M the labels (same 1, not -1) and S the nearest neighbours:
    A M A, and A M S + S M A, without every path over the pair's own label; the same of the numbers
    of labels, and the rates.
    """
    same = pairs.matrix(trust * (pairs.label == 1))
    at = pairs.first, pairs.second
    own = np.asarray(same[at]).ravel()
    found: list[list[np.ndarray]] = []
    for values in (trust * (2 * pairs.label - 1), trust):
        labels = pairs.matrix(values.astype(np.float32))
        # Paths a → b → x → b and a → x → a → b; the one over a → b → a → b is in both.
        back = _sums(same.multiply(labels))
        three = pairs.products(sparse.csr_matrix(same @ labels), same)
        three -= own * (back[at[0]] + back[at[1]]) - own**2 * np.asarray(labels[at]).ravel()
        found.append([three])
        if near is not None:
            nearly = sparse.csr_matrix(near @ labels)
            back = _sums(near.multiply(labels))
            mixed = pairs.products(nearly, same) + pairs.products(same, nearly)
            found[-1].append(mixed - own * (back[at[0]] + back[at[1]]))
    rates = [one / (count + _PRIOR) for one, count in zip(*found, strict=True)]
    return [*found[0], *found[1], *rates]


def _sums(matrix: sparse.spmatrix) -> np.ndarray:
    return np.asarray(matrix.sum(axis=1)).ravel()


def nearest_sentences(pairs: LabelledPairs) -> sparse.csr_matrix | None:
    """The nearest sentences of each by their vectors, or by n-grams: weights, [s, s], symmetric.

    None where there are more than `MOST_SENTENCES`.
    """
    size = len(pairs.texts)
    if size > MOST_SENTENCES or size < 3:
        return None
    vectors = pairs.vectors
    if vectors is None:
        vectors = by_rarity(character_grams(pairs.texts, 2))
    columns = vectors.T if isinstance(vectors, np.ndarray) else vectors.T.tocsr()
    count = min(NEIGHBOURS, size - 1)
    rows, places, weights = [], [], []
    for start in range(0, size, _AT_ONCE):
        product = vectors[start : start + _AT_ONCE] @ columns
        dense = product if isinstance(product, np.ndarray) else product.toarray()
        mine = np.arange(len(dense))
        dense[mine, start + mine] = -np.inf
        best = np.argpartition(-dense, count - 1, axis=1)[:, :count]
        rows.append(np.repeat(start + mine, count))
        places.append(best.ravel())
        weights.append(np.exp(_SHARPNESS * (np.take_along_axis(dense, best, 1).ravel() - 1)))
    found = sparse.csr_matrix(
        (np.concatenate(weights), (np.concatenate(rows), np.concatenate(places))), (size, size)
    )
    return sparse.csr_matrix(found.maximum(found.T))


def words_apart(pairs: LabelledPairs) -> sparse.csr_matrix:
    """Which character n-grams both sentences have, and which one of them has: [n, 2²⁰], 0 or 1."""
    grams = sparse.hstack([character_grams(pairs.texts, size) for size in (1, 2)]).tocsr()
    one, other = grams[pairs.first], grams[pairs.second]
    return sparse.hstack([one.multiply(other), abs(one - other)]).tocsr()


def _sorted(one: np.ndarray, other: np.ndarray) -> list[np.ndarray]:
    return [np.minimum(one, other), np.maximum(one, other)]
