"""Labelled pairs → how likely each label is wrong, by all that speaks for the other one.

Three witnesses, none of which saw the label it judges:

- a model of two classes fitted on the other folds (cross-fitting; confident learning ranks by the
  same self-confidence, Northcutt et al., JAIR 2021), over features of the text, of a similarity
  where there is one, and of what the other pairs of both sentences say;
- transitivity: a ~ b and b ~ c, but a ≁ c;
- the same two sentences, labelled apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from transforms.hashing import mix

FOLDS = 5
MOST_TRIANGLES = 10_000
_AT_ONCE = 20_000
_DIMENSIONS = 1 << 18


@dataclass(frozen=True)
class LabelledPairs:
    """Pairs by the numbers of their sentences.

    Attributes:
        texts: the different sentences [s].
        first: number of each pair's first sentence: int64 [n].
        second: of its second: int64 [n].
        label: 0 or 1: int64 [n].
        similarity: of a model that did not train on these labels, float64 [n]; None without one.
    """

    texts: list[str]
    first: np.ndarray
    second: np.ndarray
    label: np.ndarray
    similarity: np.ndarray | None = None

    @staticmethod
    def from_columns(
        sentence1: list[str],
        sentence2: list[str],
        label: np.ndarray,
        similarity: np.ndarray | None = None,
    ) -> LabelledPairs:
        """Numbers the sentences in the order in which they come."""
        codes, texts = pd.factorize(np.array([*sentence1, *sentence2], object))
        half = len(sentence1)
        return LabelledPairs(list(texts), codes[:half], codes[half:], label, similarity)

    def neighbours(self, label: int) -> sparse.csr_matrix:
        """Which sentences stand in a pair of a label: 0 or 1, [s, s], symmetric, no diagonal."""
        take = (self.label == label) & (self.first != self.second)
        one, other = self.first[take], self.second[take]
        size = (len(self.texts),) * 2
        ends = (np.concatenate([one, other]), np.concatenate([other, one]))
        found = sparse.csr_matrix((np.ones(2 * len(one), np.float32), ends), shape=size)
        found.data[:] = 1
        return found


def features(pairs: LabelledPairs) -> np.ndarray:
    """What is known of each pair but its own label: float32 [n, features]."""
    columns = [*_text_features(pairs), *_neighbour_features(pairs)]
    if pairs.similarity is not None:
        columns.append(pairs.similarity)
    return np.stack(columns, axis=1).astype(np.float32)


def _text_features(pairs: LabelledPairs) -> list[np.ndarray]:
    lengths = np.array([len(text) for text in pairs.texts], np.float32)
    one, other = lengths[pairs.first], lengths[pairs.second]
    found = [np.minimum(one, other), np.maximum(one, other)]
    for size in (1, 2, 3):
        vectors = _grams(pairs.texts, size)
        found.append(_row_products(vectors, vectors, pairs))
    return found


def _grams(texts: list[str], size: int) -> sparse.csr_matrix:
    """Character n-grams, hashed, weighted by how rare they are, of length one: [s, 2¹⁸]."""
    places, rows = [], []
    for number, text in enumerate(texts):
        codes = np.frombuffer(text.encode("utf-32-le", "replace"), np.uint32).astype(np.uint64)
        grams = np.zeros(max(len(codes) - size + 1, 1), np.uint64)
        for shift in range(min(size, len(codes))):
            grams = mix(grams ^ codes[shift : shift + len(grams)])
        places.append(np.unique(grams % np.uint64(_DIMENSIONS)).astype(np.int64))
        rows.append(np.full(len(places[-1]), number))
    column, row = np.concatenate(places), np.concatenate(rows)
    rarity = np.log1p(len(texts) / np.bincount(column, minlength=_DIMENSIONS).clip(1))
    found = sparse.csr_matrix((rarity[column], (row, column)), (len(texts), _DIMENSIONS))
    length = np.sqrt(found.multiply(found).sum(axis=1)).A1
    return sparse.diags(1 / np.maximum(length, 1e-9)) @ found


def _row_products(
    one: sparse.csr_matrix, other: sparse.csr_matrix, pairs: LabelledPairs
) -> np.ndarray:
    """For each pair the product of its first sentence's row and its second's: float64 [n]."""
    found = np.empty(len(pairs.first))
    for start in range(0, len(found), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        product = one[pairs.first[part]].multiply(other[pairs.second[part]])
        found[part] = np.asarray(product.sum(axis=1)).ravel()
    return found


def _neighbour_features(pairs: LabelledPairs) -> list[np.ndarray]:
    same, apart = pairs.neighbours(1), pairs.neighbours(0)
    both = _row_products(same, same, pairs)
    one = _row_products(same, apart, pairs) + _row_products(apart, same, pairs)
    found = [both, one]
    count = np.bincount(np.concatenate([pairs.first, pairs.second]), minlength=len(pairs.texts))
    yes = np.bincount(
        np.concatenate([pairs.first, pairs.second]),
        weights=np.tile(pairs.label, 2),
        minlength=len(pairs.texts),
    )
    base = pairs.label.mean()
    rates = [
        (yes[side] - pairs.label + base) / count[side]  # without this pair, drawn to the mean
        for side in (pairs.first, pairs.second)
    ]
    counts = [count[pairs.first] - 1, count[pairs.second] - 1]
    return [
        *found,
        np.minimum(*rates),
        np.maximum(*rates),
        np.minimum(*counts),
        np.maximum(*counts),
    ]


def chances_of_same(pairs: LabelledPairs, *, seed: int = 0) -> np.ndarray:
    """The chance that each pair is the same, by models that were not fitted on it: float64 [n].

    Pairs of the same two sentences are in one fold, so that no copy tells of its label.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    known = features(pairs)
    low, high = np.minimum(pairs.first, pairs.second), np.maximum(pairs.first, pairs.second)
    keys = mix(
        mix((low.astype(np.uint64) << np.uint64(32)) | high.astype(np.uint64)) ^ np.uint64(seed)
    )
    fold = (keys % np.uint64(FOLDS)).astype(np.int64)
    chances = np.full(len(fold), pairs.label.mean())
    for number in range(FOLDS):
        inside, outside = fold == number, fold != number
        if inside.any() and len(np.unique(pairs.label[outside])) == 2:
            model = HistGradientBoostingClassifier(random_state=seed)
            with threadpool_limits(1):  # OpenMP's threads wait busily for one another
                model.fit(known[outside], pairs.label[outside])
                chances[inside] = model.predict_proba(known[inside])[:, 1]
    return chances


def doubt_labels(pairs: LabelledPairs, *, seed: int = 0) -> pd.DataFrame:
    """Each label's doubt: `chance_same`, `doubt` (chance of the other label), contradictions.

    `contradictions` counts the sentences that make an impossible triangle with the pair;
    `labelled_apart` says whether the same two sentences have the other label elsewhere, or a
    sentence is said to differ from itself.
    """
    chances = chances_of_same(pairs, seed=seed)
    same, apart = pairs.neighbours(1), pairs.neighbours(0)
    against_no = _row_products(same, same, pairs)
    against_yes = _row_products(same, apart, pairs) + _row_products(apart, same, pairs)
    low, high = np.minimum(pairs.first, pairs.second), np.maximum(pairs.first, pairs.second)
    table = pd.DataFrame({"low": low, "high": high, "label": pairs.label})
    different = table.groupby(["low", "high"])["label"].transform("nunique").to_numpy() > 1
    return pd.DataFrame(
        {
            "chance_same": chances,
            "doubt": np.where(pairs.label == 1, 1 - chances, chances),
            "contradictions": np.where(pairs.label == 1, against_yes, against_no).astype(np.int64),
            "labelled_apart": different | ((low == high) & (pairs.label == 0)),
        }
    )


def triangles(pairs: LabelledPairs, most: int = MOST_TRIANGLES) -> np.ndarray:
    """Contradictions a ~ b, b ~ c, a ≁ c by the numbers of their rows.

    Returns:
        The rows of ab, bc and ac, at most `most`, in the order of those that say ≁: int64 [n, 3].
    """
    row_of: dict[tuple[int, int], int] = {}
    linked: dict[int, set[int]] = {}
    for row in np.flatnonzero((pairs.label == 1) & (pairs.first != pairs.second)).tolist():
        one, other = int(pairs.first[row]), int(pairs.second[row])
        row_of.setdefault((min(one, other), max(one, other)), row)
        linked.setdefault(one, set()).add(other)
        linked.setdefault(other, set()).add(one)
    found: list[tuple[int, int, int]] = []
    for row in np.flatnonzero(pairs.label == 0).tolist():
        one, other = int(pairs.first[row]), int(pairs.second[row])
        for middle in sorted(linked.get(one, set()) & linked.get(other, set())):
            ends = [row_of[min(end, middle), max(end, middle)] for end in (one, other)]
            found.append((ends[0], ends[1], row))
            if len(found) == most:
                return np.array(found, np.int64)
    return np.array(found, np.int64).reshape(-1, 3)
