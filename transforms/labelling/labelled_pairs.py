"""Labelled pairs by the numbers of their sentences, and what is known of the sentences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from transforms.hashing import mix

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
        vectors: of the sentences, of length one, by such a model: float32 [s, d]; None without.
    """

    texts: list[str]
    first: np.ndarray
    second: np.ndarray
    label: np.ndarray
    similarity: np.ndarray | None = None
    vectors: np.ndarray | None = None

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

    @property
    def low(self) -> np.ndarray:
        """The smaller of the two numbers of each pair: int64 [n]."""
        return np.minimum(self.first, self.second)

    @property
    def high(self) -> np.ndarray:
        """The greater of the two: int64 [n]."""
        return np.maximum(self.first, self.second)

    def folds(self, count: int, seed: int) -> np.ndarray:
        """A fold for each pair, the same for all copies of it: int64 [n]."""
        low, high = (side.astype(np.uint64) for side in (self.low, self.high))
        keys = mix(mix((low << np.uint64(32)) | high) ^ np.uint64(seed))
        return (keys % np.uint64(count)).astype(np.int64)

    def neighbours(self, label: int) -> sparse.csr_matrix:
        """Which sentences are in a pair of a label: 0 or 1, [s, s], symmetric, no diagonal."""
        found = self.matrix((self.label == label).astype(np.float32))
        found.data[:] = 1
        return found

    def matrix(self, values: np.ndarray) -> sparse.csr_matrix:
        """A number for each pair, [n], as a symmetric matrix without diagonal: [s, s].

        Those of copies are added up.
        """
        take = (values != 0) & (self.first != self.second)
        one, other = self.first[take], self.second[take]
        ends = (np.concatenate([one, other]), np.concatenate([other, one]))
        size = (len(self.texts),) * 2
        return sparse.csr_matrix((np.tile(values[take], 2), ends), shape=size)

    def products(self, one: sparse.csr_matrix, other: sparse.csr_matrix) -> np.ndarray:
        """For each pair the product of its first sentence's row and its second's: float64 [n]."""
        found = np.empty(len(self.first))
        for start in range(0, len(found), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            product = one[self.first[part]].multiply(other[self.second[part]])
            found[part] = np.asarray(product.sum(axis=1)).ravel()
        return found


def character_grams(texts: list[str], size: int) -> sparse.csr_matrix:
    """Which character n-grams each text has, hashed: 0 or 1, float32 [s, 2¹⁸]."""
    places, rows = [], []
    for number, text in enumerate(texts):
        codes = np.frombuffer(text.encode("utf-32-le", "replace"), np.uint32).astype(np.uint64)
        grams = np.zeros(max(len(codes) - size + 1, 1), np.uint64)
        for shift in range(min(size, len(codes))):
            grams = mix(grams ^ codes[shift : shift + len(grams)])
        places.append(np.unique(grams % np.uint64(_DIMENSIONS)).astype(np.int64))
        rows.append(np.full(len(places[-1]), number))
    column, row = np.concatenate(places), np.concatenate(rows)
    ones = np.ones(len(column), np.float32)
    return sparse.csr_matrix((ones, (row, column)), (len(texts), _DIMENSIONS))


def by_rarity(grams: sparse.csr_matrix) -> sparse.csr_matrix:
    """The same, weighted by how rare each n-gram is, each row of length one."""
    count = np.asarray(grams.sum(axis=0)).ravel()
    found = grams @ sparse.diags(np.log1p(grams.shape[0] / count.clip(1)).astype(np.float32))
    length = np.sqrt(found.multiply(found).sum(axis=1)).A1
    return sparse.csr_matrix(sparse.diags(1 / np.maximum(length, 1e-9)) @ found)
