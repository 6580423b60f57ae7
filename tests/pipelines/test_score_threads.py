"""Scores do not depend on how many threads of one process score: the same files, byte by byte."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from model.scoring.bundle_scorer import LoadedScorer
from model.scoring.engine import Engine
from pipelines.scoring import plan_scores
from tests.model.scoring.test_engine import CodePointTwins
from tests.scoring_kit import FIELDS, EqualBundle, run_score, write

ROWS, SENTENCES = 2_000, 900


class EngineBundle(EqualBundle):
    """The real engine and its cache over an encoder of plain NumPy."""

    def load(self) -> LoadedScorer:
        engine = Engine(CodePointTwins(), cache_mb=self.options.embedding_cache_mb, threads=2)
        engine._cache.capacity = min(engine._cache.capacity, 300)  # fewer than there are sentences
        return LoadedScorer(engine, FIELDS, {}, self.options)


@pytest.fixture
def pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Many shards whose sentences come up again and again."""
    monkeypatch.setattr(plan_scores, "BundleScorer", EngineBundle)
    words = np.array([f"sentence {number}" for number in range(SENTENCES)])
    choice = np.random.default_rng(3)
    sides = {f"sentence{side}": pa.array(choice.choice(words, ROWS)) for side in (1, 2)}
    return write(tmp_path / "in.parquet", pa.table(sides), row_group_size=50)


def sums(output: Path) -> dict[str, str]:
    paths = output.glob("*.parquet")
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_two_and_four_threads_write_the_bytes_of_one(pairs: Path, tmp_path: Path):
    written = []
    for workers in (1, 2, 4):
        run_score(
            pairs,
            tmp_path / str(workers),
            "--shard_rows=50",
            "--direct_running_mode=multi_threading",
            f"--direct_num_workers={workers}",
        )
        written.append(sums(tmp_path / str(workers)))

    assert len(written[0]) == ROWS // 50
    assert written[1] == written[0] and written[2] == written[0]
