"""A job that outlives its launcher: what another run has committed since stays as it is."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.flink import cluster
from tests.flink.commands import make, manifest, on_flink, sums
from tests.flink.test_score import SHARDS, names, shards_done, wait_for_shards

pytestmark = [pytest.mark.flink, pytest.mark.timeout(900)]


def test_a_job_that_outlives_its_launcher_changes_nothing(
    flink: cluster.Cluster, pairs: str, bundle: str, tmp_path: Path
) -> None:
    """The job's workers are stopped while the other run commits, so they are late for certain."""
    output, wanted = tmp_path / "scores", {"INPUT": pairs, "MODEL": bundle}
    launcher = on_flink("run-score", OUTPUT=output, ARGS="--shard_rows=1000 --parallelism=2",
                        start_new_session=True, **wanted)  # fmt: skip
    wait_for_shards(output, launcher, 2)
    os.killpg(launcher.pid, signal.SIGKILL)
    launcher.wait()
    (job,) = running_jobs()
    done = shards_done(output)
    until(lambda: shards_done(output) > done, "the job has ended with its launcher")
    late = workers()
    assert late
    for pid in late:
        os.kill(pid, signal.SIGSTOP)
    try:
        assert shards_done(output) < SHARDS and running_jobs() == [job]
        # Another limit rejects other rows, so each file differs from that of the late job.
        other = "--shard_rows=1000 --max_sentence_chars=30 --max_reject_fraction=1"
        make("run-score", OUTPUT=output, ARGS=f"{other} --overwrite", **wanted)
        committed = state(output)
        assert "_SUCCESS" in committed and manifest(output)["rows_rejected"] > 0
    finally:
        for pid in late:
            os.kill(pid, signal.SIGCONT)
    until(lambda: "taken over by another run" in failures(job), "the late job wrote, or waits")
    cancel(job)
    until(lambda: not running_jobs(), "the job was not cancelled")

    assert state(output) == committed
    make("run-score", OUTPUT=tmp_path / "alone", ARGS=other, **wanted)
    assert sums(output) == sums(tmp_path / "alone")
    assert names(output) == names(tmp_path / "alone")


def state(folder: Path) -> dict[str, tuple[int, int]]:
    """Of every file below a folder when it was changed, and how large it is."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    found = {str(path.relative_to(folder)): path.stat() for path in paths}
    return {name: (at.st_mtime_ns, at.st_size) for name, at in found.items()}


def running_jobs() -> list[str]:
    jobs = cluster.rest("/jobs/overview")["jobs"]
    ended = ("FINISHED", "FAILED", "CANCELED")
    return [job["jid"] for job in jobs if job["state"] not in ended]


def failures(job: str) -> str:
    """What the job's attempts failed with."""
    history = cluster.rest(f"/jobs/{job}/exceptions").get("exceptionHistory", {})
    return str(history.get("entries", ()))


def cancel(job: str) -> None:
    address = f"{cluster.REST}/jobs/{job}?mode=cancel"
    urllib.request.urlopen(urllib.request.Request(address, method="PATCH"), timeout=10).close()


def workers() -> list[int]:
    """The processes that the worker pools have started."""
    pools = [each for name, each in cluster.processes().items() if name.startswith("worker-pool")]
    parents = ",".join(str(pool.pid) for pool in pools)
    found = subprocess.run(["pgrep", "-P", parents], capture_output=True, text=True, check=False)
    return [int(pid) for pid in found.stdout.split()]


def until(true: Callable[[], bool], otherwise: str) -> None:
    last = time.monotonic() + 300
    while not true():
        assert time.monotonic() < last, otherwise
        time.sleep(0.2)
