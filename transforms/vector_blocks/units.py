"""Plans which blocks are compared with which: units of work that hold every pair exactly once.

Blocks have numbers, and which rows fall into which block depends on the rows alone. So the plan
depends on the number of rows: it is known before anything is encoded, and a second run makes the
same one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from transforms.input.search_names import Side
from transforms.input.shards import Shard

BLOCK_ROWS = 32_768  # of 384 floats 50 MB; a unit holds two blocks
MAX_BLOCKS = 8_192
MAX_UNITS = 4_096
SOURCE = "the input"  # of a unit: every file of the run


@dataclass(frozen=True)
class TableBlocks:
    """How many blocks each side has: `left` is compared with itself, with `right`, or with both.

    Attributes:
        left: blocks of the table, or of the left one.
        right: blocks of the other table; 0 where there is one table alone.
        within: whether pairs within `left` are looked for.
    """

    left: int
    right: int = 0
    within: bool = True

    def all(self) -> list[tuple[Side, int]]:
        """Side and number of each block."""
        sides: list[tuple[Side, int]] = [("left", number) for number in range(self.left)]
        return sides + [("right", number) for number in range(self.right)]


@dataclass(frozen=True)
class Unit:
    """A block of `left` and a run of blocks that it is compared with.

    Attributes:
        block: number of the block of `left`.
        side: which side the others are from; of `left` they include the block itself.
        first: number of the first other.
        end: one past the number of the last.
    """

    block: int
    side: Side
    first: int
    end: int

    @property
    def name(self) -> str:
        """The file name of the pairs that it finds."""
        mark = "" if self.side == "left" else "-right"
        return f"pairs-{self.block:05d}{mark}-{self.first:05d}-{self.end:05d}.parquet"


def block_count(rows: int) -> int:
    """How many blocks a number of rows is divided into."""
    return min(MAX_BLOCKS, max(1, -(-rows // BLOCK_ROWS)))


def plan_units(blocks: TableBlocks, *, visited: bool = False) -> list[Unit]:
    """The units that compare all pairs of blocks that are to be compared.

    Args:
        blocks: how many there are.
        visited: whether who is to be compared comes to a block: then each has one unit a side.
    """
    if visited:
        compared: dict[Side, bool] = {"left": bool(blocks.within), "right": blocks.right > 0}
        sides = [side for side, wanted in compared.items() if wanted]
        return [Unit(n, side, n, n + 1) for n in range(blocks.left) for side in sides]
    within = blocks.left * (blocks.left + 1) // 2 if blocks.within else 0
    # Each unit costs a file, an account and a task, and the left block is read once for all of its
    # run: so runs are as long as it takes to stay near MAX_UNITS.
    longest = max(1, -(-(within + blocks.left * blocks.right) // MAX_UNITS))
    units = []
    for block in range(blocks.left):
        if blocks.within:
            units += [Unit(block, "left", *run) for run in _runs(block, blocks.left, longest)]
        units += [Unit(block, "right", *run) for run in _runs(0, blocks.right, longest)]
    return units


def _runs(first: int, end: int, longest: int) -> Iterator[tuple[int, int]]:
    for start in range(first, end, longest):
        yield start, min(start + longest, end)


def as_shard(unit: Unit, inputs: str) -> Shard:
    """The unit as a shard of a plan; its rows are counted where they are read.

    Args:
        unit: the unit.
        inputs: see `inputs_fingerprint`.
    """
    return Shard(SOURCE, inputs, unit.name, unit.first, unit.end, 0)


def inputs_fingerprint(shards: Sequence[Shard]) -> str:
    """A fingerprint of all that is read: every unit depends on all of it."""
    content = [asdict(shard) for shard in shards]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def pairs_of(blocks: TableBlocks, left: int, right: int) -> int:
    """How many pairs of different sentences there are: n (n − 1) / 2 within, n m across."""
    within = left * (left - 1) // 2 if blocks.within else 0
    return within + left * right
