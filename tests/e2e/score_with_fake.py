"""The scoring command with a model without TensorFlow, for tests that kill it or starve it.

What the model does to a batch is told by FAULT: `slow`, `kill-worker-once:FILE`, or nothing.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pyarrow as pa

from pipelines import score
from tests.scoring_kit import EqualBundle, EqualScorer


class FaultyScorer(EqualScorer):
    def score(self, side1: pa.Array, side2: pa.Array) -> tuple[list[pa.Array], dict[str, int]]:
        fault, _, argument = os.environ.get("FAULT", "").partition(":")
        if fault == "slow":
            time.sleep(0.02)
        if fault == "kill-worker-once" and not Path(argument).exists():
            Path(argument).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().score(side1, side2)


class FaultyBundle(EqualBundle):
    def load(self) -> EqualScorer:
        return FaultyScorer()


if __name__ == "__main__":
    score.BundleScorer = FaultyBundle
    raise SystemExit(score.main())
