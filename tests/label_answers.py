"""A person who knows the truth about the pairs of `tests.e2e.conftest`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from tests.e2e.conftest import TOPICS


def truth(table: pd.DataFrame) -> np.ndarray:
    """Whether both sentences are about one topic: int64 [n]."""
    sides = [
        [next(topic for topic in TOPICS if topic in text) for text in table[name]]
        for name in ("sentence1", "sentence2")
    ]
    return np.array([one == other for one, other in zip(*sides, strict=True)], np.int64)


def answers(page: Path) -> pd.DataFrame:
    """What such a person saves after labelling the pairs of a folder."""
    chosen = pq.read_table(page / "pairs.parquet").to_pandas()
    return chosen.assign(label=truth(chosen))
