"""A name for each sentence that is made of its text alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

KEY = pa.binary(16)


def sentence_keys(sentences: Sequence[str]) -> pa.Array:
    """A key of 16 bytes (BLAKE2b) for each sentence."""
    return pa.array(
        [hashlib.blake2b(text.encode(), digest_size=16).digest() for text in sentences], KEY
    )


def as_short(keys: pa.Array) -> np.ndarray:
    """Such keys [n] → int64 [n], of their first 8 bytes."""
    return np.frombuffer(b"".join(keys.to_pylist()), "<i8").reshape(-1, 2)[:, 0]
