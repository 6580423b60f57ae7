"""How scores are named and made; apart from the scorer, as a command line knows no more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ScorerOptions:
    """How scores are named and made.

    Attributes:
        similarity_column: name of the similarity.
        label_column: name of the label.
        threshold: the label is 1 from this similarity on; None takes the bundle's.
        embedding_cache_mb: memory of each process for vectors met before.
        threads: batches that a process encodes at the same time; None takes one for each core.
        dimensions: how many floats of a vector are kept and compared; None takes all.
    """

    similarity_column: str = "similarity"
    label_column: str = "similarity_label"
    threshold: float | None = None
    embedding_cache_mb: int = 256
    threads: int | None = None
    dimensions: int | None = None

    def identity(self) -> dict[str, Any]:
        """The options that decide the bytes of the output; the cache is not among them."""
        return {
            "similarity_column": self.similarity_column,
            "similarity_label_column": self.label_column,
            "threshold": self.threshold,
            **({} if self.dimensions is None else {"dimensions": self.dimensions}),
        }
