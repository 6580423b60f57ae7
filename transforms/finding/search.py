"""Which rows of two blocks have to be compared: all, those that may be near, or those worth it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from transforms.input.search_names import Side
from transforms.vectors.cells import Cells, may_reach, nearest_cells

if TYPE_CHECKING:
    from transforms.vector_blocks.vector_block import VectorBlock

Rows = np.ndarray | None  # numbers of rows of a block; None for all of them
Place = tuple[Side, int]


class Search(Protocol):
    """Chooses what of two blocks is compared."""

    def needs(self, first: Place, second: Place) -> bool:
        """Whether any of two blocks has to be compared; if not they need not be read."""

    def rectangles(
        self, first: Place, one: VectorBlock, second: Place, other: VectorBlock
    ) -> list[tuple[Rows, Rows]]:
        """Which rows of the first block are compared with which of the second; no pair twice."""

    def going(
        self, first: Place, one: VectorBlock, second: Place, other: VectorBlock
    ) -> tuple[Rows, Rows]:
        """Which rows of the first block look for partners among which of the second."""


@dataclass(frozen=True)
class AllPairs:
    """Every row is compared with every other."""

    def needs(self, first: Place, second: Place) -> bool:
        """Always."""
        return True

    def rectangles(
        self, first: Place, one: VectorBlock, second: Place, other: VectorBlock
    ) -> list[tuple[Rows, Rows]]:
        """All with all."""
        return [(None, None)]

    def going(
        self, first: Place, one: VectorBlock, second: Place, other: VectorBlock
    ) -> tuple[Rows, Rows]:
        """All among all."""
        return None, None


@dataclass
class ByCells:
    """Rows are compared where the triangle inequality does not exclude that they are near.

    Attributes:
        cells: the cells; a block holds the rows of one.
        radius: see `Cells.radius`.
        widest: the greatest distance of each cell's rows from its centroid, by side.
    """

    cells: Cells
    radius: float
    widest: Mapping[Side, np.ndarray]
    _between: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self._between = self.cells.between()

    def needs(self, first: Place, second: Place) -> bool:
        """Whether the balls around both cells come within the radius of each other."""
        (side, number), (other, far) = first, second
        gap = self._between[number, far] - self.widest[side][number] - self.widest[other][far]
        return bool(gap <= self.radius)

    def rectangles(
        self, first: Place, one: VectorBlock, second: Place, other: VectorBlock
    ) -> list[tuple[Rows, Rows]]:
        """Those of each cell that may reach the other."""
        return [self.going(first, one, second, other)]

    def going(
        self, first: Place, one: VectorBlock, second: Place, other: VectorBlock
    ) -> tuple[Rows, Rows]:
        """The same from both sides."""
        if first[1] == second[1]:
            return None, None
        return self._reaching(first, one, second), self._reaching(second, other, first)

    def _reaching(self, own: Place, block: VectorBlock, to: Place) -> np.ndarray:
        pair = np.array([own[1], to[1]])
        cells = Cells(self.cells.distance, self.cells.centroids[pair])
        widest = np.array([self.widest[own[0]][own[1]], self.widest[to[0]][to[1]]])
        homes = np.zeros(len(block), np.int64)
        apart = cells.distances(block.vectors)
        return np.flatnonzero(may_reach(cells, apart, homes, widest, self.radius)[:, 1])


@dataclass(frozen=True)
class ByVisits:
    """Rows are compared with those of the cells whose centroids are nearest to them.

    Attributes:
        cells: the cells; a block holds the rows of one.
        visits: how many cells each row visits, its own among them.
    """

    cells: Cells
    visits: int
    _held: dict[Place, np.ndarray] = field(default_factory=dict, compare=False, repr=False)

    def needs(self, first: Place, second: Place) -> bool:
        """It is not known before the rows are read."""
        return True

    def rectangles(
        self, first: Place, one: VectorBlock, second: Place, other: VectorBlock
    ) -> list[tuple[Rows, Rows]]:
        """All of the first with visitors from the second, and its visitors with the rest."""
        if first[1] == second[1]:
            return [(None, None)]
        coming = self._visiting(second, other, first[1])
        going = self._visiting(first, one, second[1])
        return [
            (None, np.flatnonzero(coming)),
            (np.flatnonzero(going), np.flatnonzero(~coming)),
        ]

    def going(
        self, first: Place, one: VectorBlock, second: Place, other: VectorBlock
    ) -> tuple[Rows, Rows]:
        """The visitors among all."""
        if first[1] == second[1]:
            return None, None
        return np.flatnonzero(self._visiting(first, one, second[1])), None

    def _visiting(self, place: Place, block: VectorBlock, cell: int) -> np.ndarray:
        """Which rows visit a cell, bool [n]; of each block it is worked out once."""
        if place not in self._held:
            near = nearest_cells(self.cells.distances(block.vectors), self.visits)
            self._held[place] = np.packbits(near.T, axis=1)  # a bit for each cell and row
        return np.unpackbits(self._held[place][cell], count=len(block)).astype(bool)
