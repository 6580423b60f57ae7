"""Scoring on a real cluster: the local run's bytes, also when parts of the cluster are killed."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from deploy.flink import cluster
from tests.flink.commands import finish, manifest, on_flink, sums
from tests.flink.conftest import FILES, ROWS

pytestmark = [pytest.mark.flink, pytest.mark.timeout(900)]
SHARDS = FILES * ROWS // 1000
SAME = ("rows_in", "rows_scored", "rows_rejected", "rejected_by_reason", "shards", "files")


def score(pairs: str, bundle: str, output: Path, slots: int) -> subprocess.Popen:
    flags = f"--shard_rows=1000 --parallelism={slots}"
    return on_flink("run-score", INPUT=pairs, MODEL=bundle, OUTPUT=output, ARGS=flags)


def check_same(output: Path, local: Path) -> None:
    """Names and bytes of all files, and the accounts; nothing else lies in the folder."""
    assert sums(output) == sums(local)
    ours, theirs = manifest(output), manifest(local)
    assert {key: ours[key] for key in SAME} == {key: theirs[key] for key in SAME}
    assert ours["rows_in"] == FILES * ROWS == ours["rows_scored"] + ours["rows_rejected"]
    assert names(output) == names(local)


def names(folder: Path) -> list[str]:
    """Names of all files; the mark that a run's commit has closed is called after the run."""
    found = (str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    return sorted(re.sub("closed-[0-9a-f]{32}$", "closed", name) for name in found)


@pytest.mark.parametrize("slots", [1, 2])
def test_the_bytes_are_the_local_run_s(
    flink: cluster.Cluster, slots: int, pairs: str, bundle: str, local_scores: Path, tmp_path: Path
) -> None:
    finish(score(pairs, bundle, tmp_path / "scores", slots))
    check_same(tmp_path / "scores", local_scores)
    assert len(manifest(local_scores)["files"]) > SHARDS  # rejects were among them


@pytest.mark.parametrize("victim", ["task-manager-1", "worker-pool-1"])
def test_killed_in_the_middle(
    flink: cluster.Cluster,
    victim: str,
    pairs: str,
    bundle: str,
    local_scores: Path,
    tmp_path: Path,
) -> None:
    output = tmp_path / "scores"
    run = score(pairs, bundle, output, slots=2)
    wait_for_shards(output, run, 4)
    cluster.processes()[victim].stop(signal.SIGKILL)
    done = shards_done(output)
    assert 4 <= done < SHARDS, "it was not killed in the middle"
    assert run.poll() is None
    cluster.up(flink)  # brings back what is missing, as an orchestrator would
    finish(run)
    check_same(output, local_scores)


def wait_for_shards(output: Path, run: subprocess.Popen, count: int) -> None:
    while shards_done(output) < count:
        assert run.poll() is None, run.communicate()[0]
        time.sleep(0.02)


def shards_done(output: Path) -> int:
    return len(list(output.glob("_shards/*.parquet.json")))
