"""The last step of a scoring run: adds up the accounts, judges drift and writes the manifest."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pipelines.report.drift_page import drift_page
from transforms import drift
from transforms.accounts import blocks, commit, output_folder
from transforms.accounts.claims import Claim


@dataclass(frozen=True)
class Commit:
    """Commits the run in a worker, so it happens even where the launcher has gone.

    Attributes:
        claim: the run's claim to the output folder.
        shards: how many shards the plan has.
        names: their names, where they are few.
        header: what the manifest says besides the accounts.
        gates: beyond them the run fails.
        started: when the run began.
        trained: what drift is measured against.
    """

    claim: Claim
    shards: int
    names: tuple[str, ...]
    header: dict[str, Any]
    gates: commit.Gates
    started: float
    trained: drift.Profile = field(default_factory=dict)

    def __call__(self, _: None, parts: Any, encoded: Any) -> dict[str, Any]:
        """Commits the accounts of earlier runs and of this one.

        Args:
            _: nothing.
            parts: blocks of all shards of the plan.
            encoded: counts of sentences that were encoded for all shards together.
        """
        total = commit.merge_complete(parts, self.names, self.shards)
        drifted = drift.drift(self.trained, total.profile)
        page = self._page(total.profile, drifted) if drifted else None
        return commit.publish(
            self.claim,
            total.summary,
            header={
                **self.header,
                "drift": drifted,
                "rows_this_run": total.fresh_rows,
                "shards_this_run": total.fresh_shards,
                **_times(total, self.started),
            },
            more_counts=list(encoded),
            gates=self.gates,
            pages={output_folder.DRIFT_PAGE: page} if page else {},
        )

    def _page(self, scored: drift.Profile, drifted: dict[str, float]) -> bytes:
        bundle = self.header.get("bundle", {})
        pairs = sum(scored.get(drift.SIMILARITY, ()))
        about = {
            "date": f"{datetime.fromtimestamp(self.started, UTC):%Y-%m-%d %H:%M} UTC",
            "scores": f"{self.claim.folder}, {pairs:,} pairs",
            "bundle": f"{bundle.get('path', '')} {str(bundle.get('fingerprint', ''))[:12]}".strip(),
        }
        return drift_page(self.trained, scored, drifted, about).encode()


def _times(total: blocks.AccountBlock, started: float) -> dict[str, float]:
    """How long the run took, and how much of it was start-up and how much scoring."""
    seconds = time.time() - started
    first, last = (total.first, total.last) if total.fresh_shards else (started, started)
    return {
        "started": round(started, 3),
        "seconds": round(seconds, 3),
        "seconds_startup": round(first - started, 3),
        "seconds_scoring": round(last - first, 3),
        "pairs_per_second": round(total.fresh_rows / seconds, 1),
    }
