"""The scoring command with a model without TensorFlow, for tests that kill it or starve it.

What happens is told by FAULT, none of it by the clock: `hold:FILE`, no batch is scored before FILE
is there; `kill-worker-once:FILE`; `count:FILE`, the steps that the process took on its output are
written there; `die-at:N`, the process kills itself at the N-th of them; or nothing.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import time
from pathlib import Path

import pyarrow as pa

from pipelines import score
from pipelines.scoring import plan_scores
from tests.scoring_kit import EqualBundle, EqualScorer


class FaultyScorer(EqualScorer):
    def score(self, side1: pa.Array, side2: pa.Array) -> tuple[list[pa.Array], dict[str, int]]:
        fault, _, argument = os.environ.get("FAULT", "").partition(":")
        while fault == "hold" and not Path(argument).exists():
            time.sleep(0.02)
        if fault == "kill-worker-once" and not Path(argument).exists():
            Path(argument).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().score(side1, side2)


class FaultyBundle(EqualBundle):
    def load(self) -> EqualScorer:
        return FaultyScorer()


class Steps:
    """Counts what this process does to files of its output: opens, creates, renames, deletes."""

    def __init__(self, output: str):
        self.output, self.done, self.last = output, 0, 0

    def __call__(self, event: str, arguments: tuple) -> None:
        if event == "open" or event.startswith("os."):
            paths = [os.fsdecode(each) for each in arguments if isinstance(each, str | bytes)]
            if any(path.startswith(self.output) for path in paths):
                self.done += 1
                if self.done == self.last:
                    os.kill(os.getpid(), signal.SIGKILL)


def watch(fault: str, argument: str) -> None:
    steps = Steps(sys.argv[sys.argv.index("--output") + 1])
    if fault == "die-at":
        steps.last = int(argument)
    if fault == "count":
        atexit.register(lambda: Path(argument).write_text(str(steps.done)))
    sys.addaudithook(steps)


if __name__ == "__main__":
    FAULT, _, ARGUMENT = os.environ.get("FAULT", "").partition(":")
    if FAULT in ("die-at", "count"):
        watch(FAULT, ARGUMENT)
    plan_scores.BundleScorer = FaultyBundle
    raise SystemExit(score.main())
