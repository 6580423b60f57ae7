"""Parts pairs into training and evaluation by a hash of the unordered pair.

The side a pair falls to depends on its two sentences alone: not on the row's place, the shard or
the machine. A pair, its mirror and all its repeats stay together. A sentence may still stand in
pairs of both sides; only the pair is kept apart.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa

_HASH_KEY = "twinbeam-split-1"  # 16 characters, as SipHash wants; another key is another split


def text_hash(texts: pa.Array, key: str = _HASH_KEY) -> np.ndarray:
    """A stable hash (SipHash-2-4, as pandas finishes it) of strings or byte strings: uint64 [n]."""
    values = texts.to_numpy(zero_copy_only=False)
    return pd.util.hash_array(values, hash_key=key, categorize=False)


def pair_hash(sentence1: pa.Array, sentence2: pa.Array) -> np.ndarray:
    """A 64-bit hash of each unordered pair, the same for its mirror: uint64 [n]."""
    first, second = text_hash(sentence1), text_hash(sentence2)
    low, high = np.minimum(first, second), np.maximum(first, second)
    return _mix(_mix(low) ^ high)


def in_eval(sentence1: pa.Array, sentence2: pa.Array, fraction: float) -> np.ndarray:
    """Whether each pair belongs to the evaluation part: bool [n], true for about `fraction`."""
    # 53 bits are what a float64 holds exactly: a number from 0 to just below 1.
    place = (pair_hash(sentence1, sentence2) >> np.uint64(11)) / float(1 << 53)
    return place < fraction


def _mix(bits: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): uint64 [n] → uint64 [n]."""
    bits = bits + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
