"""The last step of a search: adds up the accounts, checks that no pair is missing, and commits."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from transforms.accounts import commit
from transforms.accounts.claims import Claim
from transforms.accounts.shard_account import REJECTS_FOLDER
from transforms.errors import RunError
from transforms.finding import near_blocks, write_pairs
from transforms.finding.measure import ChosenSearch
from transforms.storage import files
from transforms.vector_blocks import units
from transforms.vector_blocks.vector_block import BLOCK, BLOCKS_FOLDER, BlockAccount

ACCOUNT = (near_blocks.COMPARED, near_blocks.EXCLUDED)
SOMETIMES = (near_blocks.PROPOSED, write_pairs.UNSURE)


@dataclass(frozen=True)
class CommitPairs:
    """Commits the run in a worker, so it happens even where the launcher has gone.

    Attributes:
        claim: the run's claim to the output folder.
        names: of all shards and units of the plan.
        blocks: how many blocks each side has.
        header: what the manifest says besides the accounts.
        max_reject_fraction: of rows; with more the run fails.
        started: when the run began.
    """

    claim: Claim
    names: tuple[str, ...]
    blocks: units.TableBlocks
    header: dict[str, Any]
    max_reject_fraction: float
    started: float

    def __call__(
        self, _: None, parts: Any, made: Iterable[BlockAccount], chosen: Iterable[ChosenSearch]
    ) -> dict[str, Any]:
        """Commits.

        Args:
            _: nothing.
            parts: sums of the accounts of all shards and units.
            made: accounts of all blocks.
            chosen: how many cells were visited and what that finds; none of an exact search.

        Raises:
            RunError: an account is missing, or the pairs do not add up.
        """
        summary = dict(commit.merge_complete(parts, self.names, len(self.names)).summary)
        summary["rows_used"] = summary.pop("rows_scored")
        summary |= self._sentences(list(made), summary)
        measured = [found.to_json() for found in chosen]
        seconds = time.time() - self.started
        manifest = commit.publish(
            self.claim,
            summary,
            header={
                **self.header,
                **(measured[0] if measured else {}),
                "seconds": round(seconds, 3),
                "pairs_per_second": round(summary[near_blocks.PAIRS] / seconds, 1),
            },
            gates=commit.Gates(self.max_reject_fraction),
        )
        files.delete_folder(files.join(self.claim.folder, *BLOCKS_FOLDER.split("/")))
        return manifest

    def _sentences(self, made: list[BlockAccount], summary: dict[str, Any]) -> dict[str, Any]:
        """Counts of sentences and pairs, once every pair is accounted for."""
        found = {(block.side, block.number) for block in made if block.kind == BLOCK}
        lacking = sorted(set(self.blocks.all()) - found)
        if lacking:
            raise RunError(f"block {lacking[0]} has no account; run again")
        left, right = (
            sum(b.sentences for b in made if b.side == side and b.kind == BLOCK)
            for side in ("left", "right")
        )
        pairs = units.pairs_of(self.blocks, left, right)
        counts = {name: summary.get(name, 0) for name in ACCOUNT}
        if sum(counts.values()) != pairs:
            raise RunError(
                f"{left:,} and {right:,} sentences make {pairs:,} pairs, but "
                + " and ".join(f"{counts[name]:,} are {name}" for name in ACCOUNT)
            )
        written = [file for file in summary.get("files", ()) if not _is_reject(file["name"])]
        rows = {"rows_written": sum(file["rows"] for file in written)}
        return {
            "sentences": left + right,
            "sentences_encoded": sum(block.encoded for block in made),
            near_blocks.PAIRS: pairs,
            **counts,
            **{
                name: summary[name]
                for name in (near_blocks.PROPOSED, write_pairs.UNSURE)
                if name in summary
            },
            write_pairs.FOUND: summary.get(write_pairs.FOUND, 0),
            write_pairs.EQUAL: summary.get(write_pairs.EQUAL, 0),
            **(rows if "files" in summary else {}),
        }


def _is_reject(name: str) -> bool:
    return name.startswith(REJECTS_FOLDER + "/")
