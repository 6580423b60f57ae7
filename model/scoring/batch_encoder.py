"""Encodes distinct sentences in batches: sentences → token ids → batches of like lengths → vectors.

The token ids come from the bundle's own preprocessing, the vectors from its encoder: the one in C++
if there is one, otherwise TensorFlow's.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np

from model.kernels.encoders import PackedEncoder
from model.scoring.length_batches import Batch, batches_by_length, packed_batches, padded

TEXT_ROWS = 256


class BundleFunctions(Protocol):
    """The functions of a bundle that the engine calls, on NumPy arrays.

    Attributes:
        dimensions: length d of a vector.
        padding_changes_bits: whether a vector's last bits depend on its padding.
        reads_text: whether sentences are encoded as they are, without ids.
        packed: the encoder in C++; None where the machine or the bundle has none.
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


class BatchEncoder:
    """Encodes sentences by a bundle's functions; safe for threads, for it keeps no state."""

    def __init__(self, functions: BundleFunctions, *, threads: int = 1):
        """Takes the bundle's functions and how many batches run at once."""
        self._functions = functions
        self._pool = ThreadPoolExecutor(threads)

    def encode(self, sentences: list[str]) -> np.ndarray:
        """Sentences [n] → vectors, float32 [n, d]."""
        texts = np.array(sentences, object)
        return self._encode_text(texts) if self._functions.reads_text else self._encode_ids(texts)

    def _encode_ids(self, texts: np.ndarray) -> np.ndarray:
        values, lengths = self._functions.tokenize(texts)
        if self._functions.packed is not None:
            return self._encode_packed(self._functions.packed, values, lengths)
        starts = np.cumsum(lengths) - lengths
        vectors = np.empty((len(texts), self._functions.dimensions), np.float32)

        def encode_batch(batch: Batch) -> None:
            encoded = self._functions.encode_ids(padded(values, starts, lengths, batch))
            vectors[batch.positions] = encoded[: len(batch.positions)]

        batches = batches_by_length(lengths, own_length=self._functions.padding_changes_bits)
        list(self._pool.map(encode_batch, batches))
        return vectors

    def _encode_packed(
        self, packed: PackedEncoder, values: np.ndarray, lengths: np.ndarray
    ) -> np.ndarray:
        """Ids of all sentences in a row [m] and their lengths [n] → vectors [n, d]."""
        packed.check(values, lengths)
        starts = np.cumsum(lengths) - lengths
        kept = self._functions.dimensions  # the first floats of a vector, maybe all of them
        vectors = np.empty((len(lengths), kept), np.float32)

        def encode_part(positions: np.ndarray) -> None:
            encoded = packed.encode(values, starts[positions], lengths[positions])
            vectors[positions] = encoded[:, :kept]

        list(self._pool.map(encode_part, packed_batches(lengths, packed.tokens)))
        return vectors

    def _encode_text(self, texts: np.ndarray) -> np.ndarray:
        vectors = np.empty((len(texts), self._functions.dimensions), np.float32)
        for start in range(0, len(texts), TEXT_ROWS):
            part = texts[start : start + TEXT_ROWS]
            filled = np.resize(part, TEXT_ROWS)  # one fixed shape, as everywhere
            vectors[start : start + len(part)] = self._functions.encode(filled)[: len(part)]
        return vectors
