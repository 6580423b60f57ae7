"""Kills searches for pairs at their nth call of the store, and starts them again.

python -m tests.e2e.killed_find FOLDER KILLS SEED FLAG… runs the search in FOLDER/quiet, then in
FOLDER/killed until it was killed so often, then to its end, and prints what it saw as JSON. The
calls are counted, not the time, so that a seed kills at the same places on every machine. Each run
is a fork of this process, which has imported everything and run nothing.
"""

from __future__ import annotations

import inspect
import json
import os
import random
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipelines import find
from tests.finding_kit import LetterBundle
from transforms.storage import files, local
from transforms.vector_blocks import units

CALLS, LOCK = [0], threading.Lock()


def run(flags: list[str], kill_at: int) -> int | None:
    """Runs a search in a fork; its calls of the store, or None where it was killed."""
    get, put = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        count_calls(kill_at)
        find.run(flags)
        os.write(put, str(CALLS[0]).encode())
        os._exit(0)
    os.close(put)
    with os.fdopen(get) as pipe:
        calls = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return None
    if status != 0:
        raise SystemExit(f"a run ended with {status}")
    return int(calls)


def count_calls(kill_at: int) -> None:
    """Lets the store count its calls; at one of them the process is killed. 0: at none."""
    for name, function in inspect.getmembers(local, inspect.isfunction):
        if function.__module__ == local.__name__:
            setattr(local, name, counted(function, kill_at))
    files._open = counted(files._open, kill_at)


def counted(function: Callable, kill_at: int) -> Callable:
    def call(*given: Any, **how: Any) -> Any:
        with LOCK:
            CALLS[0] += 1
            if CALLS[0] == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
        return function(*given, **how)

    return call


def main(folder: Path, kills: int, seed: int, flags: list[str]) -> dict[str, Any]:
    chance, killed, fresh = random.Random(seed), folder / "killed", 0
    calls = run([*flags, "--output", str(folder / "quiet")], 0)
    assert calls is not None
    places: list[int] = []
    while len(places) < kills:
        at = chance.randint(1, calls)
        if run([*flags, "--output", str(killed)], at) is not None:
            shutil.rmtree(killed)  # it was done first: begin anew, so that every kill is a kill
            fresh += 1
            continue
        places.append(at)
        for path in killed.glob("*.parquet"):
            pq.read_metadata(path)  # a final name is never half a file
    run([*flags, "--output", str(killed)], 0)
    return {"calls": calls, "kills": len(places), "begun anew": fresh, "places": sorted(places)}


if __name__ == "__main__":
    find.BundleScorer = LetterBundle  # type: ignore[misc,assignment]
    units.BLOCK_ROWS = 60
    seen = main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
    print(json.dumps(seen))
