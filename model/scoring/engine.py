"""Scores pairs fast: each distinct sentence is encoded once.

sentences of both sides → distinct → (cache) → vectors → gathered back to the pairs → compared.
TensorFlow comes in with the bundle, not here.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from model.scoring.batch_encoder import BatchEncoder, BundleFunctions
from model.scoring.vector_cache import VectorCache

COMPARE_ROWS = 16_384


class KnownVectors:
    """Vectors that came from elsewhere, looked up like a cache that never changes."""

    def __init__(self, sentences: Sequence[str], vectors: np.ndarray):
        """Takes sentences [n] and their vectors [n, d]."""
        self._rows = {sentence: row for row, sentence in enumerate(sentences)}
        self._vectors = vectors

    def look_up(self, sentences: Sequence[str], into: np.ndarray) -> np.ndarray:
        """As `VectorCache.look_up`."""
        rows = np.array([self._rows.get(sentence, -1) for sentence in sentences], np.int64)
        known = rows >= 0
        into[known] = self._vectors[rows[known]]
        return np.flatnonzero(~known)

    def add(self, sentences: Sequence[str], vectors: np.ndarray) -> None:
        """Keeps nothing: what was not brought along is rare."""


class Engine:
    """Scores pairs of sentences with a bundle's functions and a cache between calls."""

    def __init__(self, functions: BundleFunctions, *, cache_mb: int, threads: int = 1):
        """Takes the bundle's functions, the cache's budget and how many batches run at once."""
        self._functions = functions
        self._encoder = BatchEncoder(functions, threads=threads)
        self._cache: VectorCache | KnownVectors = VectorCache(cache_mb, functions.dimensions)

    def with_vectors(self, known: KnownVectors) -> Engine:
        """The same engine, with known vectors in place of its cache."""
        engine = copy.copy(self)
        engine._cache = known
        return engine

    def score(self, side1: pa.Array, side2: pa.Array) -> tuple[dict[str, np.ndarray], dict]:
        """Scores pairs.

        Args:
            side1: first sentences, [n] without nulls.
            side2: second sentences, [n] without nulls.

        Returns:
            Outputs of the comparison, each [n, …], and counts of sentences.
        """
        encoded = pa.concat_arrays([side1, side2]).dictionary_encode()
        distinct = encoded.dictionary.to_pylist()
        vectors, fresh = self._encode_cached(distinct)
        places = encoded.indices.to_numpy()
        pairs = len(side1)
        compared = self.compare(vectors, places[:pairs], places[pairs:])
        counts = {
            "sentences": len(distinct),
            "sentences_encoded": fresh,
            "cache_hits": len(distinct) - fresh,
        }
        return compared, counts

    def _encode_cached(self, sentences: list[str]) -> tuple[np.ndarray, int]:
        vectors = np.empty((len(sentences), self._functions.dimensions), np.float32)
        unknown = self._cache.look_up(sentences, vectors)
        if len(unknown):
            wanted = [sentences[position] for position in unknown]
            fresh = self.encode(wanted)
            vectors[unknown] = fresh
            self._cache.add(wanted, fresh)
        return vectors, len(unknown)

    def warm_up(self) -> None:
        """Calls the bundle's functions once: TensorFlow prepares a graph when it first runs."""
        vectors = self.encode(["warm"])
        self.compare(vectors, np.zeros(1, np.int64), np.zeros(1, np.int64))

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        return self._functions.dimensions

    def encode(self, sentences: list[str]) -> np.ndarray:
        """Encodes distinct sentences → vectors, float32 [n, d]."""
        return self._encoder.encode(sentences)

    def compare(
        self, vectors: np.ndarray, first: np.ndarray, second: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Compares rows of vectors [n, d] by number: outputs of the comparison, each [m, …]."""
        pieces = []
        for start in range(0, len(first), COMPARE_ROWS):
            rows = min(COMPARE_ROWS, len(first) - start)
            # One fixed shape: a row's bits then come from the same arithmetic in every run.
            u = vectors[np.resize(first[start : start + rows], COMPARE_ROWS)]
            v = vectors[np.resize(second[start : start + rows], COMPARE_ROWS)]
            compared = self._functions.compare(u, v)
            pieces.append({name: values[:rows] for name, values in compared.items()})
        return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
