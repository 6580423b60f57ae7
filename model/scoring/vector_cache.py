"""A bounded cache of sentence → vector; what was used longest ago goes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

# A str of a dozen characters, its entry in an ordered dict and an index, as measured.
ENTRY_BYTES = 300


class VectorCache:
    """Vectors of sentences met before, within a budget of memory.

    Vectors lie in one array, [capacity, d]; a dict in the order of use maps a sentence to its row.
    """

    def __init__(self, megabytes: int, dimensions: int):
        """Takes the budget in MiB (0 keeps nothing) and the length d of a vector."""
        self.capacity = (megabytes << 20) // (4 * dimensions + ENTRY_BYTES)
        self._vectors = np.empty((min(self.capacity, 1024), dimensions), np.float32)
        self._rows: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        """How many sentences are kept."""
        return len(self._rows)

    def look_up(self, sentences: Sequence[str], into: np.ndarray) -> np.ndarray:
        """Copies known vectors into their rows of `into` [n, d].

        Returns:
            Positions of the sentences that are not known, ascending.
        """
        rows = [self._rows.get(sentence, -1) for sentence in sentences]
        found = np.array(rows, np.int64)
        known = np.flatnonzero(found >= 0)
        into[known] = self._vectors[found[known]]
        for position in known.tolist():
            self._rows.move_to_end(sentences[position])
        return np.flatnonzero(found < 0)

    def add(self, sentences: Sequence[str], vectors: np.ndarray) -> None:
        """Keeps new sentences with their vectors [n, d]; the least recently used make room."""
        if len(sentences) > self.capacity:
            sentences, vectors = sentences[: self.capacity], vectors[: self.capacity]
        taken = len(self._rows)
        fresh = min(len(sentences), self.capacity - taken)
        self._grow(taken + fresh)
        rows = list(range(taken, taken + fresh))
        rows += [self._rows.popitem(last=False)[1] for _ in range(len(sentences) - fresh)]
        self._vectors[rows] = vectors
        self._rows.update(zip(sentences, rows, strict=True))

    def _grow(self, needed: int) -> None:
        size = len(self._vectors)
        if needed > size:
            rows = min(self.capacity, max(needed, 2 * size))
            grown = np.empty((rows, self._vectors.shape[1]), np.float32)
            grown[:size] = self._vectors
            self._vectors = grown
