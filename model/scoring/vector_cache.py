"""A bounded cache of sentence → vector; what was used longest ago goes first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

# A str of a dozen characters, its entry in an ordered dict and an index, as measured.
ENTRY_BYTES = 300


class VectorCache:
    """Vectors of sentences met before, within a budget of memory.

    Vectors lie in one array, [capacity, d]; a dict in the order of use maps a sentence to its row.

    The threads of a worker process share one cache (Dataflow runs two, Flink one a slot), so every
    use holds its lock: a row that is found must still be its sentence's when the vector is copied.
    """

    def __init__(self, megabytes: int, dimensions: int):
        """Takes the budget in MiB (0 keeps nothing) and the length d of a vector."""
        self.capacity = (megabytes << 20) // (4 * dimensions + ENTRY_BYTES)
        self._vectors = np.empty((min(self.capacity, 1024), dimensions), np.float32)
        self._rows: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """How many sentences are kept."""
        return len(self._rows)

    def look_up(self, sentences: Sequence[str], into: np.ndarray) -> np.ndarray:
        """Copies known vectors into their rows of `into` [n, d].

        Returns:
            Positions of the sentences that are not known, ascending.
        """
        with self._lock:
            rows = [self._rows.get(sentence, -1) for sentence in sentences]
            found = np.array(rows, np.int64)
            known = np.flatnonzero(found >= 0)
            into[known] = self._vectors[found[known]]
            for position in known.tolist():
                self._rows.move_to_end(sentences[position])
        return np.flatnonzero(found < 0)

    def add(self, sentences: Sequence[str], vectors: np.ndarray) -> None:
        """Keeps sentences with their vectors [n, d]; the least recently used make room.

        A sentence that is kept already is left unchanged: another thread missed it at the same time
        and was faster.
        """
        with self._lock:
            new: dict[str, int] = {}
            for position, sentence in enumerate(sentences):
                if sentence not in self._rows:
                    new.setdefault(sentence, position)
            kept = list(new.items())[: self.capacity]
            rows = self._free_rows(len(kept))
            self._vectors[rows] = vectors[[position for _, position in kept]]
            self._rows.update(zip((sentence for sentence, _ in kept), rows, strict=True))

    def _free_rows(self, count: int) -> list[int]:
        """Rows without a sentence: unused ones first, then those used longest ago."""
        taken = len(self._rows)  # rows are given out in order, so these are the first ones
        unused = min(count, self.capacity - taken)
        self._grow(taken + unused)
        rows = list(range(taken, taken + unused))
        return rows + [self._rows.popitem(last=False)[1] for _ in range(count - unused)]

    def _grow(self, needed: int) -> None:
        size = len(self._vectors)
        if needed > size:
            rows = min(self.capacity, max(needed, 2 * size))
            grown = np.empty((rows, self._vectors.shape[1]), np.float32)
            grown[:size] = self._vectors
            self._vectors = grown
