"""What of two blocks is compared, and the pairs that are near; every pair is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from transforms.finding.best_partners import Pairs, within_reach
from transforms.finding.search import AllPairs, Place, Rows, Search
from transforms.finding.visiting import Visiting
from transforms.input.search_names import Side
from transforms.labelling.known_labels import KnownLabels
from transforms.vectors.near import Reach, near_pairs
from transforms.vectors.reach import Comparer

if TYPE_CHECKING:
    from transforms.vector_blocks.vector_block import VectorBlock

PAIRS, COMPARED, EXCLUDED = "pairs", "pairs_compared", "pairs_excluded"
PROPOSED = "pairs_proposed"  # those that a learned head compares


@dataclass
class Joined:
    """What a join of two blocks comes to, counted in pairs of different sentences."""

    counts: Counter[str] = field(default_factory=Counter)

    def add(self, pairs: int, compared: int) -> None:
        """A number of pairs, and how many of them were compared."""
        self.counts.update({PAIRS: pairs, COMPARED: compared, EXCLUDED: pairs - compared})

    def visit(self, compared: int) -> None:
        """So many pairs of those that are counted already were compared."""
        self.counts.update({COMPARED: compared, EXCLUDED: -compared})

    def propose(self, pairs: Pairs, reach: Reach) -> Pairs:
        """Counts the pairs that a learned head compares; gives them back."""
        if reach.proposes:
            self.counts[PROPOSED] += len(pairs[0])
        return pairs


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
        labels: what is known of pairs, where they are written to be trained on.
        visiting: the cells that sentences visit; None where blocks are compared with blocks.
        visitors: side and number of a block → who visits it from other blocks, or None.
    """

    load: Callable[[str, int], VectorBlock]
    sizes: Mapping[Place, int]
    search: Search
    comparer: Comparer
    reach: Reach
    threads: int = 1
    labels: KnownLabels | None = None
    visiting: Visiting | None = None
    visitors: Callable[[Side, int], VectorBlock | None] = lambda side, number: None

    def size_of(self, side: Side) -> int:
        """How many sentences all blocks of a side have."""
        return sum(size for place, size in self.sizes.items() if place[0] == side)


def nothing_to_do(
    first: Place, second: Place, pairs: Pairs | None, parts: JoinParts, joined: Joined
) -> bool:
    """Whether two blocks need not be read; their pairs are then counted here."""
    count = parts.sizes[first] * parts.sizes[second]
    if not parts.search.needs(first, second):
        joined.add(count, 0)
        return True
    # The lists hold no pair of these blocks, which does not mean that none was compared: without
    # cells all of them were. With cells the rows that were compared have to be read to be counted.
    if pairs is not None and not len(pairs[0]) and isinstance(parts.search, AllPairs):
        joined.add(count, count)
        return True
    return False


def near_within(block: VectorBlock, parts: JoinParts, joined: Joined) -> Iterator[Pairs]:
    """The near pairs of a block, each once."""
    pairs, vectors = len(block) * (len(block) - 1) // 2, block.vectors
    joined.add(pairs, pairs)
    for near in near_pairs(vectors, None, parts.reach, threads=parts.threads):
        yield joined.propose(within_reach(vectors, vectors, near, parts.reach), parts.reach)


def near_across(
    first: Place,
    block: VectorBlock,
    second: Place,
    other: VectorBlock,
    parts: JoinParts,
    joined: Joined,
) -> Iterator[Pairs]:
    """The near pairs of two blocks, of the rows that have to be compared."""
    compared, reach = 0, parts.reach
    for rows1, rows2 in parts.search.rectangles(first, block, second, other):
        u = block.vectors if rows1 is None else block.vectors[rows1]
        v = other.vectors if rows2 is None else other.vectors[rows2]
        compared += len(u) * len(v)
        for near in near_pairs(u, v, reach, threads=parts.threads):
            one, two = joined.propose(within_reach(u, v, near, reach), reach)
            yield (one if rows1 is None else rows1[one], two if rows2 is None else rows2[two])
    # Reached only because the caller takes all pairs: an abandoned generator would count nothing.
    joined.add(len(block) * len(other), compared)


def count_compared(
    first: Place,
    block: VectorBlock,
    second: Place,
    other: VectorBlock,
    parts: JoinParts,
    joined: Joined,
) -> None:
    """Counts what was compared for the lists of two blocks, each pair once."""
    if first == second:
        pairs = len(block) * (len(block) - 1) // 2
        joined.add(pairs, pairs)
        return
    rectangles = parts.search.rectangles(first, block, second, other)
    if second[0] == "right":  # only sentences of the left side look for partners
        rectangles = [parts.search.going(first, block, second, other)]
    compared = sum(_size(rows1, block) * _size(rows2, other) for rows1, rows2 in rectangles)
    joined.add(len(block) * len(other), compared)


def _size(rows: Rows, block: VectorBlock) -> int:
    return len(block) if rows is None else len(rows)
