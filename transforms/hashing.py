"""Stable 64-bit hashes of texts and of unordered pairs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

_HASH_KEY = "twinbeam-split-1"  # 16 characters, as SipHash wants; another key is another split


def text_hash(texts: pa.Array, key: str = _HASH_KEY) -> np.ndarray:
    """A stable hash (SipHash-2-4, as pandas finishes it) of strings or byte strings: uint64 [n]."""
    import pandas as pd  # half a second that flags and their help do without

    values = texts.to_numpy(zero_copy_only=False)
    return pd.util.hash_array(values, hash_key=key, categorize=False)


def pair_hash(sentence1: pa.Array, sentence2: pa.Array) -> np.ndarray:
    """A 64-bit hash of each unordered pair, the same for its mirror: uint64 [n]."""
    return unordered_hash(text_hash(sentence1), text_hash(sentence2))


def unordered_hash(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """A hash of two hashes that is the same for both orders of them: uint64 [n]."""
    low, high = np.minimum(first, second), np.maximum(first, second)
    return mix(mix(low) ^ high)


def split_by_hash(hashes: np.ndarray, count: int) -> Iterator[tuple[int, np.ndarray]]:
    """Divides rows by their hashes, uint64 [n], into buckets: (bucket, its rows' numbers)."""
    number = hashes % np.uint64(count)
    order = np.argsort(number, kind="stable")
    found, starts = np.unique(number[order], return_index=True)
    # Of no rows, np.split gives one piece.
    for bucket, rows in zip(found, np.split(order, starts[1:]), strict=False):
        yield int(bucket), rows


def mix(bits: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): uint64 [n] → uint64 [n]."""
    bits = bits + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
