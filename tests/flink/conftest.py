from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from deploy.flink import cluster
from tests.model import tiny_bundle
from tests.model.tiny_recipes import recipe
from tests.scoring_kit import write

FILES, ROWS = 4, 9_000


@pytest.fixture(scope="session")
def flink() -> Iterator[cluster.Cluster]:
    """A cluster of two TaskManagers, as `make flink-up` starts it."""
    if shutil.which("java") is None:
        pytest.skip("Flink needs Java, and there is none")
    if cluster.overview():
        pytest.fail(f"a Flink cluster runs at {cluster.REST} already; stop it: make flink-down")
    started = cluster.Cluster()
    try:
        cluster.up(started)
        yield started
    finally:
        cluster.down()


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A bundle that takes its time: untrained, but of the articles' size."""
    folder = tmp_path_factory.mktemp("bundle")
    graph = tiny_bundle.write_graph(folder / "graph", tokenizer="char")
    wide = recipe(encoder={"kind": "bilstm", "units": [128, 64], "pooling": "last"})
    return tiny_bundle.export(folder / "bundle", tiny_bundle.build(wide), wide, graph)


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Labelled pairs in several files; every sentence stands in one pair only, some are null."""
    folder = tmp_path_factory.mktemp("pairs")
    for number in range(FILES):
        write(folder / f"part-{number}.parquet", _table(number), row_group_size=500)
    return f"{folder}/*.parquet"


def _table(number: int) -> pa.Table:
    rows = range(ROWS)
    left = [f"如何还款 {number} {row} How do I pay back {row * row}" for row in rows]
    right = [f"怎么还款？ {number} {row} 借不到 {row * 7}" if row % 97 else None for row in rows]
    labels = pa.array([row % 2 for row in rows], pa.int64())
    return pa.table({"sentence1": left, "sentence2": right, "label": labels})


@pytest.fixture(scope="session")
def local_scores(pairs: str, bundle: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the local runner makes of the pairs."""
    from tests.flink.commands import make

    output = tmp_path_factory.mktemp("local") / "scores"
    make("run-score", INPUT=pairs, MODEL=bundle, OUTPUT=output, ARGS="--shard_rows=1000")
    return output
