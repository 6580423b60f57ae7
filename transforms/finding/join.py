"""Compares blocks with each other and writes the pairs that are similar enough, with an account."""

from __future__ import annotations

import hashlib
import time

import pyarrow as pa

from transforms.accounts.shard_account import ShardAccount, write_account
from transforms.accounts.shard_writer import ShardWriter
from transforms.finding.best_partners import LISTED, owned_pairs
from transforms.finding.near_blocks import (
    Joined,
    JoinParts,
    count_compared,
    near_across,
    near_within,
    nothing_to_do,
)
from transforms.finding.search import Place
from transforms.finding.visiting import Keeps, Meeting
from transforms.finding.write_pairs import JoinSettings, PairWriter
from transforms.storage import files
from transforms.storage.exchange import Exchange
from transforms.vector_blocks.units import Unit, as_shard
from transforms.vector_blocks.vector_block import BLOCKS_FOLDER, VectorBlock


def join_unit(unit: Unit, parts: JoinParts, settings: JoinSettings) -> ShardAccount:
    """Finds the pairs of a unit, writes them under its name and leaves its account."""
    started, joined = time.time(), Joined()
    with ShardWriter(
        settings.claim, unit.name, settings.schema, "", settings.compression
    ) as writer:
        to = PairWriter(parts, settings, writer, joined)
        if parts.visiting is not None:
            _join_visits(unit, to)
        else:
            _join_run(unit, to)
        files = (writer.finish(),) if writer.rows else ()
    # That all pairs of all sentences are counted once is checked at the commit.
    account = ShardAccount(
        shard=as_shard(unit, settings.inputs).to_json(),
        run_key=settings.run_key,
        rows_in=0,
        rows_scored=0,
        rows_rejected=0,
        rejected_by_reason={},
        counts=dict(joined.counts),
        files=files,
        started=started,
        finished=time.time(),
    )
    write_account(settings.claim, account)
    return account


def best_exchange(settings: JoinSettings, blocks: int) -> Exchange:
    """Where lists of the most similar partners wait for the blocks that write their pairs."""
    key = hashlib.sha256(f"{settings.run_key}-{settings.inputs}".encode()).hexdigest()
    folder = files.join(settings.output, *BLOCKS_FOLDER.split("/"), f"best-{key[:12]}")
    return Exchange(folder, blocks, settings.claim)


def _join_run(unit: Unit, to: PairWriter) -> None:
    """A block and a run of blocks that it is compared with."""
    listed = _listed(unit, to.parts, to.settings) if to.settings.top_k else None
    for number in range(unit.first, unit.end):
        _join_blocks(("left", unit.block), (unit.side, number), listed, to)


def _join_blocks(first: Place, second: Place, listed: pa.Table | None, to: PairWriter) -> None:
    own, parts, joined = first == second, to.parts, to.joined
    pairs = None if listed is None else owned_pairs(listed, *second)
    if not own and nothing_to_do(first, second, pairs, parts, joined):
        return
    block = parts.load(*first)
    other = block if own else parts.load(*second)
    rows = to.rows(block, other)
    if own:
        to.write_equal(rows)
    if pairs is not None:
        # The pairs are known: the lists were made by comparing the same rows, which are counted
        # here.
        count_compared(first, block, second, other, parts, joined)
        near = iter([pairs])
    elif own:
        near = near_within(block, parts, joined)
    else:
        near = near_across(first, block, second, other, parts, joined)
    to.write_near(rows, near)


def _listed(unit: Unit, parts: JoinParts, settings: JoinSettings) -> pa.Table:
    """The pairs that the unit's block writes, from the lists of all blocks."""
    blocks = sum(side == "left" for side, _ in parts.sizes)
    table = best_exchange(settings, blocks).read("best", range(blocks), unit.block)
    empty = pa.schema([(name, pa.int64()) for name in LISTED]).empty_table()
    return empty if table is None else table


def _join_visits(unit: Unit, to: PairWriter) -> None:
    """Pairs of a block's sentences with those that visit them, and with those they visit."""
    parts, number = to.parts, unit.block
    left, after = parts.load("left", number), parts.size_of(unit.side)
    # Within a table each pair of sentences is counted by the block with the lesser number, at first
    # as excluded; `joined.visit` moves those that are compared, wherever that happens, to the
    # compared ones.
    if unit.side == "left":
        after -= sum(parts.sizes["left", before] for before in range(number + 1))
        to.joined.add(len(left) * (len(left) - 1) // 2 + len(left) * after, 0)
        to.write_equal(to.rows(left, left))
        for guests in (left, parts.visitors("left", number)):
            _meet(left, guests, "lesser", to)
        return
    # Between two tables either side visits the other. A pair that visit each other is met twice:
    # here the home on the right side keeps it ("all"), the one on the left drops it ("one-way").
    right = parts.load("right", number)
    to.joined.add(len(left) * after, 0)
    for guests in (left, parts.visitors("left", number)):
        _meet(right, guests, "all", to, turned=True)
    for guests in (right, parts.visitors("right", number)):
        _meet(left, guests, "one-way", to)


def _meet(
    home: VectorBlock,
    guests: VectorBlock | None,
    keeps: Keeps,
    to: PairWriter,
    turned: bool = False,
) -> None:
    """Writes the pairs of a block with its guests; `turned`: guests are the left side."""
    parts, joined, visiting = to.parts, to.joined, to.parts.visiting
    if guests is None or not len(home) or not len(guests) or visiting is None:
        return
    near = Meeting(home, guests, visiting, parts.reach, keeps).near(parts.threads, joined.visit)
    proposed = (joined.propose(pairs, parts.reach) for pairs in near)
    if turned:
        to.write_near(to.rows(guests, home), ((two, one) for one, two in proposed))
    else:
        to.write_near(to.rows(home, guests), proposed)
