"""Adds up the accounts of shards in blocks, so that no worker needs to hold them all.

A run of a million shards has as many accounts. Their sums are small, but the list of the files
written is not: above `INLINE_SHARDS` each block of shards writes its part of the list to its own
file, and the manifest names those files.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam

from transforms.accounts.claims import Claim
from transforms.accounts.output_folder import LISTS
from transforms.accounts.shard_account import ShardAccount, read_account, summarise
from transforms.drift import Profile, add_up
from transforms.errors import RunError
from transforms.input.shards import Shard
from transforms.storage import files

BLOCK_SHARDS = 1_000
INLINE_SHARDS = 10_000


@dataclass(frozen=True)
class AccountBlock:
    """What the accounts of some shards come to.

    Attributes:
        names: of the shards; empty where the files are `listed`.
        shards: how many shards have an account.
        summary: sums as the manifest has them; without `files` where they are `listed`.
        listed: the files below the output folder that list the files written.
        profile: what drift is computed from.
        fresh_shards: shards of this run, not of an earlier one.
        fresh_rows: their rows.
        first: when work on the first of them began.
        last: when work on the last of them ended.
    """

    names: tuple[str, ...] = ()
    shards: int = 0
    summary: dict[str, Any] = field(default_factory=dict)
    listed: tuple[str, ...] = ()
    profile: Profile = field(default_factory=dict)
    fresh_shards: int = 0
    fresh_rows: int = 0
    first: float = math.inf
    last: float = -math.inf


@dataclass(frozen=True)
class AccountBlocks:
    """How the shards of a plan are divided into blocks: by name, in order.

    Attributes:
        claim: the run's claim to the output folder.
        bounds: the first name of each block.
        inline: whether the manifest itself lists the files.
    """

    claim: Claim
    bounds: tuple[str, ...]
    inline: bool

    @staticmethod
    def plan(claim: Claim, names: Iterable[str]) -> AccountBlocks:
        """The blocks of a plan with these shards."""
        ordered = sorted(names)
        return AccountBlocks(claim, tuple(ordered[::BLOCK_SHARDS]), len(ordered) <= INLINE_SHARDS)

    def place(self, name: str) -> int:
        """The block of a shard, from 1: the first bound is the least of all names."""
        return bisect_right(self.bounds, name)

    def add_up(self, place: int, accounts: Iterable[tuple[bool, ShardAccount]]) -> AccountBlock:
        """What a block's accounts come to; doing it twice is harmless.

        Args:
            place: of the block.
            accounts: whether each is of this run, and the account.

        Raises:
            RunError: an account does not add up.
        """
        # By name, since a runner may deliver an account twice; in order, since it delivers in any.
        by_name = {account.shard["name"]: (new, account.check()) for new, account in accounts}
        ordered = [by_name[name] for name in sorted(by_name)]
        fresh = [account for new, account in ordered if new]
        summary = summarise([account for _, account in ordered])
        listed = () if self.inline else (self._list(place, summary.pop("files")),)
        return AccountBlock(
            names=tuple(by_name) if self.inline else (),
            shards=len(by_name),
            summary=summary,
            listed=listed,
            profile=add_up(account.profile for _, account in ordered),
            fresh_shards=len(fresh),
            fresh_rows=sum(account.rows_in for account in fresh),
            first=min((account.started for account in fresh), default=math.inf),
            last=max((account.finished for account in fresh), default=-math.inf),
        )

    def _list(self, place: int, written: list[dict[str, Any]]) -> str:
        name = f"{LISTS}{place:05d}.json"
        self.claim.write(name, files.as_json(written))
        return name


def merge(blocks: Iterable[AccountBlock]) -> AccountBlock:
    """The blocks of a complete plan as one; its summary equals `summarise` of all accounts."""
    # In the order of the plan, so that the manifest does not depend on which worker was faster.
    ordered = sorted(blocks, key=lambda block: (block.listed, sorted(block.names[:1])))
    return AccountBlock(
        names=tuple(name for block in ordered for name in block.names),
        shards=sum(block.shards for block in ordered),
        summary=_merged(ordered),
        listed=tuple(name for block in ordered for name in block.listed),
        profile=add_up(block.profile for block in ordered),
        fresh_shards=sum(block.fresh_shards for block in ordered),
        fresh_rows=sum(block.fresh_rows for block in ordered),
        first=min((block.first for block in ordered), default=math.inf),
        last=max((block.last for block in ordered), default=-math.inf),
    )


def _merged(blocks: Sequence[AccountBlock]) -> dict[str, Any]:
    merged = summarise([])
    reasons: Counter[str] = Counter()
    for block in blocks:
        reasons.update(block.summary["rejected_by_reason"])
        for key, value in block.summary.items():
            if key != "rejected_by_reason":  # a number, or the list of files
                merged[key] = merged[key] + value if key in merged else value
    merged["rejected_by_reason"] = dict(sorted(reasons.items()))
    listed = [name for block in blocks for name in block.listed]
    if listed:
        merged |= {"files_listed": listed}
        del merged["files"]
    return merged


def read_done(shard: Shard, output: str) -> tuple[bool, ShardAccount]:
    """The account of a shard that an earlier run finished.

    Raises:
        RunError: it is gone.
    """
    try:
        return False, read_account(output, shard.name)
    except FileNotFoundError:
        raise RunError(
            f"the account of {shard.name} is gone: another run has taken over {output}"
        ) from None


class AddUpAccounts(beam.PTransform):
    """(whether it is of this run, account) → blocks."""

    def __init__(self, blocks: AccountBlocks):
        super().__init__()
        self._blocks = blocks

    def expand(self, accounts: beam.PCollection) -> beam.PCollection:
        blocks = self._blocks
        return (
            accounts
            | "Find block" >> beam.Map(lambda each: (blocks.place(each[1].shard["name"]), each))
            | "Gather blocks" >> beam.GroupByKey()
            | "Add up block" >> beam.MapTuple(blocks.add_up)
        )
