"""What labelled pairs say of pairs that were found: similar, apart, or nothing."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from transforms.hashing import pair_hash
from transforms.storage import files

APART, SIMILAR, UNKNOWN = 0, 1, -1


@dataclass(frozen=True, eq=False)
class KnownLabels:
    """Labelled pairs by their hash.

    Attributes:
        hashes: see `transforms.hashing.pair_hash`; sorted, each once, uint64 [n].
        labels: APART or SIMILAR, int8 [n].
    """

    hashes: np.ndarray
    labels: np.ndarray

    def look_up(self, side1: pa.Array, side2: pa.Array) -> np.ndarray:
        """Sentences of both sides [n] → APART, SIMILAR or UNKNOWN, int8 [n]."""
        wanted = pair_hash(side1, side2)
        if not len(self.hashes):
            return np.full(len(wanted), UNKNOWN, np.int8)
        places = np.minimum(np.searchsorted(self.hashes, wanted), len(self.hashes) - 1)
        return np.where(self.hashes[places] == wanted, self.labels[places], UNKNOWN).astype(np.int8)

    @property
    def fingerprint(self) -> str:
        """Of all of them."""
        content = self.hashes.tobytes() + self.labels.tobytes()
        return hashlib.sha256(content).hexdigest()[:32]

    def save(self, path: str) -> str:
        """Writes them for workers; returns the path."""
        content = io.BytesIO()
        np.savez(content, hashes=self.hashes, labels=self.labels)
        files.write_bytes(path, content.getvalue())
        return path

    @classmethod
    def load(cls, path: str) -> KnownLabels:
        """Those that `save` wrote."""
        with np.load(io.BytesIO(files.read_bytes(path))) as found:
            return cls(found["hashes"], found["labels"])
