"""Finding and clustering on a real cluster: the local run's bytes."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from deploy.flink import cluster
from tests.flink.commands import finish, make, manifest, on_flink, sums
from tests.scoring_kit import write

pytestmark = [pytest.mark.flink, pytest.mark.timeout(900)]
ROWS = 3_000
ACCOUNT = ("pairs", "pairs_compared", "pairs_excluded", "pairs_found", "pairs_equal", "files")


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sentences of which some are nearly the same, some are equal, and some are null."""
    texts = [
        f"如何还款 {row % 700} How do I pay back {row % 500}" if row % 97 else None
        for row in range(ROWS)
    ]
    path = tmp_path_factory.mktemp("questions") / "questions.parquet"
    return write(path, pa.table({"id": range(ROWS), "sentence": texts}), row_group_size=500)


@pytest.mark.parametrize("kind", ["--cells=0", "--cells=6", "--cells=6 --recall=0.9", "--top_k=2"])
def test_the_bytes_are_the_local_run_s(
    flink: cluster.Cluster, questions: Path, bundle: str, tmp_path: Path, kind: str
) -> None:
    flags = f"{kind} --min_similarity=0.97 --shard_rows=500 --max_reject_fraction=0.1"
    given = {"INPUT": questions, "MODEL": bundle}
    make("run-find", **given, OUTPUT=tmp_path / "local", ARGS=flags)
    run = on_flink("run-find", **given, OUTPUT=tmp_path / "flink", ARGS=f"{flags} --parallelism=2")
    finish(run)
    assert sums(tmp_path / "flink") == sums(tmp_path / "local")
    ours, theirs = manifest(tmp_path / "flink"), manifest(tmp_path / "local")
    assert {key: ours[key] for key in ACCOUNT} == {key: theirs[key] for key in ACCOUNT}
    assert ours["pairs_found"] > 0

    pairs = {"INPUT": tmp_path / "local", "ARGS": "--edges_at_once=200"}
    make("run-cluster", **pairs, OUTPUT=tmp_path / "local-clusters")
    finish(on_flink("run-cluster", **pairs, OUTPUT=tmp_path / "flink-clusters"))
    assert sums(tmp_path / "flink-clusters") == sums(tmp_path / "local-clusters")
