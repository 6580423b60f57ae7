"""What a run may not exceed to be committed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from transforms import drift
from transforms.accounts.output_folder import DRIFT_PAGE
from transforms.accounts.shard_account import REJECTS_FOLDER
from transforms.errors import RunError


@dataclass(frozen=True)
class Gates:
    """What a run may not exceed; a run that does is not committed.

    Attributes:
        max_reject_fraction: of the rows.
        max_drift: from the training data; None allows any.
    """

    max_reject_fraction: float
    max_drift: float | None = None

    def judge(self, manifest: Mapping[str, Any], output: str) -> None:
        """Judges what a manifest says, before the commit or when a folder is met again.

        Raises:
            RunError: too many rows were rejected, or the drift is too great or not known.
        """
        rows, rejected = manifest["rows_in"], manifest["rows_rejected"]
        if rejected > self.max_reject_fraction * rows:
            raise RunError(
                f"{rejected} of {rows} rows were rejected "
                f"({_format_reasons(manifest['rejected_by_reason'])}), more than "
                f"--max_reject_fraction {self.max_reject_fraction} allows; not committed: see "
                f"{output}/{REJECTS_FOLDER}/, fix the input or raise the fraction and run again"
            )
        if self.max_drift is None or not manifest["rows_scored"]:
            return
        found = manifest.get("drift") or {}
        if not found:
            raise RunError(
                f"{drift.format_drift(found)}, so --max_drift {self.max_drift} cannot be judged; "
                "not committed: leave it out, or score with a bundle that was trained here"
            )
        if not found["drift"] <= self.max_drift:
            raise RunError(
                f"{drift.format_drift(found)}, more than --max_drift {self.max_drift} allows; not "
                f"committed, see {output}/{DRIFT_PAGE}: train on pairs like these, or raise "
                "--max_drift and run again"
            )


def _format_reasons(reasons: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
