"""Finding and clustering on a real cluster: the local run's bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from deploy.flink import cluster
from tests.flink.commands import finish, make, manifest, on_flink, sums
from tests.model import tiny_bundle
from tests.model.tiny_recipes import recipe
from tests.scoring_kit import write

pytestmark = [pytest.mark.flink, pytest.mark.timeout(900)]
ROWS = 1_200
ACCOUNT = ("pairs", "pairs_compared", "pairs_excluded", "pairs_found", "pairs_equal", "files")


@pytest.fixture(scope="module")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Untrained, with vectors so short that some of the sentences below are near each other."""
    folder = tmp_path_factory.mktemp("small")
    graph = tiny_bundle.write_graph(folder / "graph", tokenizer="char")
    rules = recipe()
    return tiny_bundle.export(folder / "bundle", tiny_bundle.build(rules), rules, graph)


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sentences of characters that the bundle knows: some are equal, and some are null."""
    known = sorted(set("".join(tiny_bundle.SENTENCES)) - {" "})
    random = np.random.default_rng(3)
    texts = [
        "".join(random.choice(known, size=random.integers(3, 13))) if row % 97 else None
        for row in range(ROWS)
    ]
    texts[5] = texts[700] = texts[1]
    path = tmp_path_factory.mktemp("questions") / "questions.parquet"
    return write(path, pa.table({"id": range(ROWS), "sentence": texts}), row_group_size=200)


@pytest.mark.parametrize("kind", ["--cells=0", "--cells=6", "--cells=6 --recall=0.9", "--top_k=2"])
def test_the_bytes_are_the_local_run_s(
    flink: cluster.Cluster, questions: Path, small_bundle: str, tmp_path: Path, kind: str
) -> None:
    flags = f"{kind} --min_similarity=0.95 --shard_rows=200 --max_reject_fraction=0.1"
    given = {"INPUT": questions, "MODEL": small_bundle}
    make("run-find", **given, OUTPUT=tmp_path / "local", ARGS=flags)
    run = on_flink("run-find", **given, OUTPUT=tmp_path / "flink", ARGS=f"{flags} --parallelism=2")
    finish(run)
    assert sums(tmp_path / "flink") == sums(tmp_path / "local")
    ours, theirs = manifest(tmp_path / "flink"), manifest(tmp_path / "local")
    assert {key: ours[key] for key in ACCOUNT} == {key: theirs[key] for key in ACCOUNT}
    assert 500 < ours["pairs_found"] < 5_000  # some tasks hold a part of the edges each

    pairs = {"INPUT": tmp_path / "local", "ARGS": "--edges_at_once=200"}
    make("run-cluster", **pairs, OUTPUT=tmp_path / "local-clusters")
    finish(on_flink("run-cluster", **pairs, OUTPUT=tmp_path / "flink-clusters"))
    assert sums(tmp_path / "flink-clusters") == sums(tmp_path / "local-clusters")
