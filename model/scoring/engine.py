"""Scores pairs fast: each distinct sentence is encoded once, in batches of like lengths.

sentences of both sides → distinct → (cache) → token ids → length buckets → vectors → gathered
back to the pairs → compared. TensorFlow comes in with the bundle, not here.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
import pyarrow as pa

from model.kernels.encoders import PackedEncoder
from model.scoring.length_batches import Batch, batches_by_length, packed_batches, padded
from model.scoring.vector_cache import VectorCache

COMPARE_ROWS = 16_384
TEXT_ROWS = 256


class BundleFunctions(Protocol):
    """The functions of a bundle that the engine calls, on NumPy arrays.

    Attributes:
        dimensions: length d of a vector.
        padding_shows: whether a vector's last bits depend on how far its sentence was padded.
        reads_text: whether sentences are encoded as they are, without ids.
    """

    dimensions: int
    padding_changes_bits: bool
    reads_text: bool
    packed: PackedEncoder | None

    def tokenize(self, sentences: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sentences [n] → ids of all of them in a row [m], and how many each has [n]."""
        ...

    def encode_ids(self, ids: np.ndarray) -> np.ndarray:
        """Ids, int32 [rows, length] → vectors, float32 [rows, d]."""
        ...

    def encode(self, sentences: np.ndarray) -> np.ndarray:
        """Sentences [n] → vectors, float32 [n, d]."""
        ...

    def compare(self, u: np.ndarray, v: np.ndarray) -> dict[str, np.ndarray]:
        """Vectors [n, d] of both sides → `similarity` [n], `label` [n], maybe `probabilities`."""
        ...


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

    def __init__(self, encoder: BundleFunctions, *, cache_mb: int, threads: int = 1):
        """Takes the bundle's functions, the cache's budget and how many batches run at once."""
        self._encoder = encoder
        self._cache: VectorCache | KnownVectors = VectorCache(cache_mb, encoder.dimensions)
        self._pool = ThreadPoolExecutor(threads)

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
        vectors = np.empty((len(sentences), self._encoder.dimensions), np.float32)
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
        return self._encoder.dimensions

    def encode(self, sentences: list[str]) -> np.ndarray:
        """Encodes distinct sentences → vectors, float32 [n, d]."""
        texts = np.array(sentences, object)
        return self._encode_text(texts) if self._encoder.reads_text else self._encode_ids(texts)

    def _encode_ids(self, texts: np.ndarray) -> np.ndarray:
        values, lengths = self._encoder.tokenize(texts)
        if self._encoder.packed is not None:
            return self._encode_packed(self._encoder.packed, values, lengths)
        starts = np.cumsum(lengths) - lengths
        vectors = np.empty((len(texts), self._encoder.dimensions), np.float32)

        def encode_batch(batch: Batch) -> None:
            encoded = self._encoder.encode_ids(padded(values, starts, lengths, batch))
            vectors[batch.positions] = encoded[: len(batch.positions)]

        batches = batches_by_length(lengths, own_length=self._encoder.padding_changes_bits)
        list(self._pool.map(encode_batch, batches))
        return vectors

    def _encode_packed(
        self, packed: PackedEncoder, values: np.ndarray, lengths: np.ndarray
    ) -> np.ndarray:
        """Ids of all sentences in a row [m] and their lengths [n] → vectors [n, d]."""
        packed.check(values, lengths)
        starts = np.cumsum(lengths) - lengths
        kept = self._encoder.dimensions  # the first floats of a vector, maybe all of them
        vectors = np.empty((len(lengths), kept), np.float32)

        def encode_part(positions: np.ndarray) -> None:
            encoded = packed.encode(values, starts[positions], lengths[positions])
            vectors[positions] = encoded[:, :kept]

        list(self._pool.map(encode_part, packed_batches(lengths, packed.tokens)))
        return vectors

    def _encode_text(self, texts: np.ndarray) -> np.ndarray:
        vectors = np.empty((len(texts), self._encoder.dimensions), np.float32)
        for start in range(0, len(texts), TEXT_ROWS):
            part = texts[start : start + TEXT_ROWS]
            filled = np.resize(part, TEXT_ROWS)  # one fixed shape, as everywhere
            vectors[start : start + len(part)] = self._encoder.encode(filled)[: len(part)]
        return vectors

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
            compared = self._encoder.compare(u, v)
            pieces.append({name: values[:rows] for name, values in compared.items()})
        return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
