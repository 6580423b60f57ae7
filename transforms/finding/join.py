"""Compares blocks with each other and writes the pairs that are similar enough, with an account."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from transforms.accounts.claims import Claim
from transforms.accounts.shard_account import ShardAccount, write_account
from transforms.accounts.shard_writer import ShardWriter
from transforms.errors import RunError
from transforms.finding.pair_rows import PairRows
from transforms.finding.search import Place, Search
from transforms.finding.top_k import best_partners
from transforms.finding.units import Unit, as_shard
from transforms.finding.vector_block import VectorBlock
from transforms.vectors.near import Reach, near_pairs
from transforms.vectors.reach import Comparer, reachable

COMPARED_AT_ONCE = 65_536
PAIRS, COMPARED, EXCLUDED = "pairs", "pairs_compared", "pairs_excluded"
FOUND, EQUAL = "pairs_found", "pairs_equal"


@dataclass(frozen=True)
class JoinSettings:
    """What decides the pairs besides the blocks and the bundle.

    Attributes:
        output: the output folder.
        run_key: see `transforms.accounts.shard_account.run_key`.
        inputs: fingerprint of all that is read.
        least: the least similarity of a pair.
        schema: of the pairs.
        ordered: whether the row with the lesser id comes first; else the one of the left table.
        keep: kept columns.
        equal: all pairs of rows with equal sentences, or each with the first of them.
        top_k: how many partners of each left sentence, the most similar; None for all.
        compression: codec of the files written.
        run: that has claimed the output folder; None where nobody is kept away.
    """

    output: str
    run_key: str
    inputs: str
    least: float
    schema: pa.Schema
    ordered: bool
    keep: tuple[str, ...] = ()
    equal: str = "all"
    top_k: int | None = None
    compression: str = "zstd"
    run: str | None = None

    @property
    def claim(self) -> Claim:
        """What the run writes by."""
        return Claim(self.output, self.run)


@dataclass
class Joined:
    """What a join of two blocks comes to, counted in pairs of different sentences."""

    counts: Counter[str] = field(default_factory=Counter)

    def add(self, pairs: int, compared: int) -> None:
        """So many pairs, of which so many were compared."""
        self.counts.update({PAIRS: pairs, COMPARED: compared, EXCLUDED: pairs - compared})


@dataclass(frozen=True)
class JoinParts:
    """What a unit is joined with.

    Attributes:
        load: side and number → block.
        sizes: how many sentences each block has.
        search: what of two blocks is compared.
        comparer: decides which near pairs are similar enough.
        reach: how near two vectors have to be for that.
        threads: strips that are worked on at once.
    """

    load: Callable[[str, int], VectorBlock]
    sizes: Mapping[Place, int]
    search: Search
    comparer: Comparer
    reach: Reach
    threads: int = 1


def join_unit(unit: Unit, parts: JoinParts, settings: JoinSettings) -> ShardAccount:
    """Finds the pairs of a unit, writes them under its name and leaves its account.

    Raises:
        RunError: the account does not add up.
    """
    started, joined = time.time(), Joined()
    with ShardWriter(
        settings.claim, unit.name, settings.schema, "", settings.compression
    ) as writer:
        if settings.top_k:
            _join_best(unit, parts, settings, writer, joined)
        for number in range(unit.first, unit.end) if not settings.top_k else ():
            _join_blocks(("left", unit.block), (unit.side, number), parts, settings, writer, joined)
        files = (writer.finish(),) if writer.rows else ()
    if joined.counts[PAIRS] != joined.counts[COMPARED] + joined.counts[EXCLUDED]:
        raise RunError(f"{unit.name}: pairs compared and excluded are not all pairs")
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


def _join_best(
    unit: Unit, parts: JoinParts, settings: JoinSettings, writer: ShardWriter, joined: Joined
) -> None:
    """The most similar partners of each sentence of a block, in all blocks of the other table."""
    block, numbers = parts.load("left", unit.block), range(unit.first, unit.end)
    best = best_partners(
        block,
        numbers,
        lambda number: parts.load(unit.side, number),
        parts.comparer,
        settings.top_k or 0,
        parts.reach.distance,
        parts.threads,
    )
    for number in numbers:
        pairs = len(block) * parts.sizes[unit.side, number]
        joined.add(pairs, pairs)
        first, second = best.of_block(number)
        if len(first):
            other = parts.load(unit.side, number)
            rows = PairRows(block, other, settings.schema, settings.keep, ordered=False)
            for part in batched(iter([(first, second)])):
                _write_similar(rows, part, parts.comparer, settings, writer, joined)


def _join_blocks(
    first: Place,
    second: Place,
    parts: JoinParts,
    settings: JoinSettings,
    writer: ShardWriter,
    joined: Joined,
) -> None:
    own = first == second
    if not own and not parts.search.needs(first, second):
        joined.add(parts.sizes[first] * parts.sizes[second], 0)
        return
    block = parts.load(*first)
    other = block if own else parts.load(*second)
    rows = PairRows(block, other, settings.schema, settings.keep, ordered=settings.ordered)
    if own:
        _write_equal(rows, parts.comparer, settings, writer, joined)
        near = _near_within(block, parts, joined)
    else:
        near = _near_across(first, block, second, other, parts, joined)
    for pairs in batched(near):
        _write_similar(rows, pairs, parts.comparer, settings, writer, joined)


def _near_within(
    block: VectorBlock, parts: JoinParts, joined: Joined
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The near pairs of a block, each once."""
    pairs = len(block) * (len(block) - 1) // 2
    joined.add(pairs, pairs)
    yield from near_pairs(block.vectors, None, parts.reach, threads=parts.threads)


def _near_across(
    first: Place,
    block: VectorBlock,
    second: Place,
    other: VectorBlock,
    parts: JoinParts,
    joined: Joined,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The near pairs of two blocks, of the rows that have to be compared."""
    compared = 0
    for rows1, rows2 in parts.search.rectangles(first, block, second, other):
        u = block.vectors if rows1 is None else block.vectors[rows1]
        v = other.vectors if rows2 is None else other.vectors[rows2]
        compared += len(u) * len(v)
        for one, two in near_pairs(u, v, parts.reach, threads=parts.threads):
            yield (one if rows1 is None else rows1[one], two if rows2 is None else rows2[two])
    joined.add(len(block) * len(other), compared)


def batched(
    parts: Iterator[tuple[np.ndarray, np.ndarray]],
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The same pairs in batches of one size, but the last: what is compared at once."""
    held: list[tuple[np.ndarray, np.ndarray]] = []
    size = 0
    for part in parts:
        held.append(part)
        size += len(part[0])
        while size >= COMPARED_AT_ONCE:
            first, second = (np.concatenate(side) for side in zip(*held, strict=True))
            yield first[:COMPARED_AT_ONCE], second[:COMPARED_AT_ONCE]
            held = [(first[COMPARED_AT_ONCE:], second[COMPARED_AT_ONCE:])]
            size -= COMPARED_AT_ONCE
    if size:
        first, second = (np.concatenate(side) for side in zip(*held, strict=True))
        yield first, second


def _write_similar(
    rows: PairRows,
    pairs: tuple[np.ndarray, np.ndarray],
    comparer: Comparer,
    settings: JoinSettings,
    writer: ShardWriter,
    joined: Joined,
) -> None:
    first, second = pairs
    columns = comparer.compare(rows.vectors, first, second + rows.offset)
    similar = reachable(columns[0], settings.least)
    joined.counts[FOUND] += int(similar.sum())
    kept = pa.array(similar)
    scores = [column.filter(kept) for column in columns]
    for batch in rows.of_sentences(first[similar], second[similar], scores, settings.equal):
        writer.write(batch)


def _write_equal(
    rows: PairRows,
    comparer: Comparer,
    settings: JoinSettings,
    writer: ShardWriter,
    joined: Joined,
) -> None:
    """Pairs of rows with the same sentence: it is compared with itself, once."""
    several = np.flatnonzero(rows.block.counts > 1)
    for start in range(0, len(several), COMPARED_AT_ONCE):
        part = several[start : start + COMPARED_AT_ONCE]
        columns = comparer.compare(rows.vectors, part, part)
        similar = reachable(columns[0], settings.least)
        scores = [column.filter(pa.array(similar)) for column in columns]
        for batch in rows.of_equal(part[similar], scores, settings.equal):
            joined.counts[EQUAL] += batch.num_rows
            writer.write(batch)
