"""The commands as people give them."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

from deploy.flink import cluster

ROOT = Path(__file__).resolve().parents[2]
MASTER = f"--flink_master={cluster.REST} --environment_config=localhost:{cluster.POOL_PORT}"


def start(target: str, *, start_new_session: bool = False, **variables: Any) -> subprocess.Popen:
    """Starts a make target, in a session of its own where all of it is to be killed."""
    given = [f"{name}={value}" for name, value in variables.items()]
    return subprocess.Popen(
        ["make", "--no-print-directory", target, *given],
        cwd=ROOT,
        # Without the variables that the make around this test was given.
        env={key: value for key, value in os.environ.items() if "MAKE" not in key},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=start_new_session,
    )


def make(target: str, **variables: Any) -> str:
    """Runs a make target to its end, which has to be a good one; what it printed."""
    return finish(start(target, **variables))


def on_flink(target: str, *, ARGS: str = "", **variables: Any) -> subprocess.Popen:
    """Starts a make target on the cluster."""
    return start(target, RUNNER="FlinkRunner", ARGS=f"{MASTER} {ARGS}".strip(), **variables)


def finish(run: subprocess.Popen) -> str:
    """Waits for a command's good end; what it printed."""
    printed, _ = run.communicate(timeout=800)
    assert run.returncode == 0, printed
    return printed


def sums(folder: Path) -> dict[str, str]:
    """sha256 of every Parquet file below a folder, by name."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted([*folder.rglob("*.parquet"), *folder.rglob("*.rejected")])
    }


def manifest(folder: Path) -> dict[str, Any]:
    """A folder's manifest."""
    names = (folder / name for name in ("_manifest.json", "manifest.json"))
    return json.loads(next(path for path in names if path.exists()).read_text())
