"""Pairs of which one visits the other's home: each compared once, whoever visits whom."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from transforms.finding.best_partners import Pairs, within_reach
from transforms.vectors.near import Reach
from transforms.vectors.rectangles import Rectangles
from transforms.vectors.visits import VisitedCells

if TYPE_CHECKING:
    from transforms.vector_blocks.vector_block import VectorBlock

# Of a pair that visit each other: it is found in both homes. Within a table the lesser home keeps
# it; between two tables that of the right side does.
Keeps = Literal["lesser", "all", "one-way"]


@dataclass(frozen=True)
class Visiting:
    """Sentences are compared with those of the cells they visit, which come to them.

    Attributes:
        cells: what is visited.
        visits: how many cells each visits, its own among them.
    """

    cells: VisitedCells
    visits: int


@dataclass(frozen=True)
class Home:
    """A run of rows that live together, and the guests that come to them."""

    number: int
    rows: slice
    guests: np.ndarray


class Meeting:
    """A block at home and the guests of its homes, from wherever they come.

    Args:
        home: a block, home by home.
        guests: any sentences of the other side, or of the same table; maybe the block itself.
        search: the cells.
        reach: how near pairs are.
        keeps: what is done with pairs that visit each other.
    """

    def __init__(
        self, home: VectorBlock, guests: VectorBlock, search: Visiting, reach: Reach, keeps: Keeps
    ):
        """Prepares the vectors."""
        self._home, self._guests, self._reach, self._keeps = home, guests, reach, keeps
        self._cells, self._visits = search.cells.cells, search.visits
        self._rectangles = Rectangles(home.vectors, guests.vectors, reach)

    def near(self, threads: int, count: Callable[[int], None]) -> Iterator[Pairs]:
        """The near pairs, home by home: rows of the block and of the guests.

        Args:
            threads: homes that are worked on at once.
            count: takes the number of pairs compared.
        """
        homes = list(self._homes())
        with ThreadPoolExecutor(threads) as pool:
            for first in range(0, len(homes), 4 * threads):  # what was found waits only for few
                for pairs, compared in pool.map(self._meet, homes[first : first + 4 * threads]):
                    count(compared)
                    yield within_reach(self._home.vectors, self._guests.vectors, pairs, self._reach)

    def _homes(self) -> Iterator[Home]:
        numbers, starts = np.unique(self._home.homes, return_index=True)
        ends = np.append(starts[1:], len(self._home))
        visited = self._guests.visits[:, : self._visits]
        order = np.argsort(visited, axis=None, kind="stable")
        sorted_cells = visited.ravel()[order]
        for number, start, end in zip(numbers, starts, ends, strict=True):
            first, last = np.searchsorted(sorted_cells, self._cells[number] + np.array([0, 1]))
            guests = order[first:last] // self._visits
            if self._guests is self._home:
                guests = guests[self._guests.homes[guests] != number]
            yield Home(int(number), slice(int(start), int(end)), np.sort(guests))

    def _meet(self, home: Home) -> tuple[Pairs, int]:
        size = home.rows.stop - home.rows.start
        parts, compared = [self._rectangles.near(home.rows, home.guests)], size * len(home.guests)
        parts = [self._kept(home, parts[0])]
        compared -= self._dropped(home)
        if self._guests is self._home:
            parts.append(self._rectangles.within(home.rows))
            compared += size * (size - 1) // 2
        one, two = (np.concatenate(side) for side in zip(*parts, strict=True))
        return (one, two), compared

    def _kept(self, home: Home, pairs: Pairs) -> Pairs:
        """Those that are not found in the guest's home as well, or that belong here."""
        one, two = pairs
        if self._keeps == "all":
            return pairs
        theirs = self._guests.homes[two]
        visits = self._home.visits[one, : self._visits]
        kept = ~(visits == self._cells[theirs][:, None]).any(axis=1)
        if self._keeps == "lesser":
            kept |= home.number < theirs
        return one[kept], two[kept]

    def _dropped(self, home: Home) -> int:
        """How many pairs of a home and its guests `_kept` leaves to the guests' homes."""
        if self._keeps == "all":
            return 0
        theirs = self._guests.homes[home.guests]
        if self._keeps == "lesser":
            theirs = theirs[theirs < home.number]
        visits = self._home.visits[home.rows, : self._visits].ravel()
        going = np.bincount(visits, minlength=int(self._cells[-1]) + 1)
        return int(going[self._cells[theirs]].sum())
