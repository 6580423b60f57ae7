"""A command in a process of its own, and what it took."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Measured:
    """What a run took, with its start-up.

    Attributes:
        wall: seconds by the clock.
        cpu: seconds of the processor.
        peak_mb: its greatest memory.
    """

    wall: float
    cpu: float
    peak_mb: float


def run_measured(command: Sequence[str]) -> Measured:
    """Runs a command that must succeed; what it prints is not shown."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    if status:
        raise SystemExit(f"this failed; run it by hand: {' '.join(command)}")
    return Measured(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
