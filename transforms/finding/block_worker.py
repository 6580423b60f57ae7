"""What a worker holds while it compares blocks: the model, the blocks it had last, the search."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import apache_beam as beam
import numpy as np
from apache_beam.utils.shared import Shared

from transforms.finding.measure import ChosenSearch
from transforms.finding.near_blocks import JoinParts
from transforms.finding.search import AllPairs, ByCells, ByVisits, Search
from transforms.finding.visiting import Visiting
from transforms.finding.write_pairs import JoinSettings
from transforms.input.search_names import Side
from transforms.labelling.known_labels import KnownLabels
from transforms.vector_blocks.vector_block import BlockAccount, VectorBlock, block_name, read_block
from transforms.vector_blocks.visitors import read_visitors
from transforms.vectors.near import Distance, Reach
from transforms.vectors.reach import Comparer, reach_of
from transforms.vectors.visits import AnyCells, VisitedCells

if TYPE_CHECKING:
    from transforms.vector_blocks.make_cells import CellSettings

_BLOCKS_HELD = 2


@dataclass(frozen=True)
class Made:
    """What has to be there before pairs are found.

    Attributes:
        blocks: accounts of all blocks.
        cells: the cells that the blocks hold, one element; None where blocks are by hash.
        chosen: what is searched, one element; None where nothing is left out.
        ready: what else: blocks that have lists of the most similar partners, or that have sent
            their visitors.
    """

    blocks: beam.PCollection
    cells: beam.PCollection | None = None
    chosen: beam.PCollection | None = None
    ready: beam.PCollection | None = None

    def side_inputs(self, nothing: beam.PCollection) -> list[beam.pvalue.AsList]:
        """All of it, for `BlockWorker.parts`; `nothing` has no elements."""
        parts = (self.blocks, self.cells, self.chosen, self.ready)
        return [beam.pvalue.AsList(part if part is not None else nothing) for part in parts]


class BlockWorker:
    """Opens the model in a worker process, and blocks as they are needed.

    Args:
        load: opens what compares, once in each worker process; picklable.
        distance: of vectors.
        settings: what decides the pairs.
        shared: holds the one copy of the model in a process.
        proposes: whether the distance only proposes pairs, because a learned head compares them.
        cells: what decided the cells, where there are any.
    """

    def __init__(
        self,
        load: Callable[[], Comparer],
        distance: Distance,
        settings: JoinSettings,
        shared: Shared,
        *,
        proposes: bool = False,
        cells: CellSettings | None = None,
    ):
        self._cells = cells
        self._load = load
        self._distance = distance
        self.settings = settings
        self._shared = shared
        self._proposes = proposes

    def setup(self) -> None:
        """Opens the model."""
        self._comparer = self._shared.acquire(self._load, tag="model")
        self._reach: Reach | None = None
        if not self._proposes:
            self._reach = reach_of(self._comparer, self._distance, self.settings.least)
        self._held: OrderedDict[str, VectorBlock] = OrderedDict()
        self._search: Search | None = None
        self._visiting: Visiting | None = None
        path = self.settings.labels
        self._labels = None if path is None else KnownLabels.load(path)
        self._threads = one_core_a_strip()

    def parts(
        self,
        made: Sequence[BlockAccount],
        cells: Sequence[AnyCells],
        chosen: Sequence[ChosenSearch],
    ) -> JoinParts:
        """What blocks are compared with."""
        if self._reach is None:
            self._reach = Reach(self._distance, chosen[0].radius or 0.0, proposes=True)
        if self._search is None:  # one and the same in a run
            self._visiting = visiting_of(cells, chosen)
            self._search = search_of(made, cells, chosen, self._reach)
        return JoinParts(
            self._block,
            {(block.side, block.number): block.sentences for block in made},
            self._search,
            self._comparer,
            self._reach,
            self._threads,
            self._labels,
            self._visiting,
            self._visitors,
        )

    def _visitors(self, side: Side, number: int) -> VectorBlock | None:
        """Who comes to a block from others; it is read by one unit alone."""
        if self._visiting is None or self._cells is None:
            return None
        return read_visitors(side, number, self._visiting.visits, self._cells)

    def _block(self, side: str, number: int) -> VectorBlock:
        """A block, held for the next unit: neighbours in the plan share one."""
        name = block_name(side, number)
        if name not in self._held:
            self._held[name] = read_block(self.settings.output, name)
            while len(self._held) > _BLOCKS_HELD:
                self._held.popitem(last=False)
        self._held.move_to_end(name)
        return self._held[name]


def visiting_of(cells: Sequence[AnyCells], chosen: Sequence[ChosenSearch]) -> Visiting | None:
    """The cells that sentences visit, where they do."""
    if not cells or not isinstance(cells[0], VisitedCells):
        return None
    return Visiting(cells[0], chosen[0].visits or 1)


def search_of(
    made: Sequence[BlockAccount],
    cells: Sequence[AnyCells],
    chosen: Sequence[ChosenSearch],
    reach: Reach,
) -> Search:
    """What is compared: all, or what cells do not exclude, or what is worth a visit."""
    if not cells:
        return AllPairs()
    if isinstance(cells[0], VisitedCells):
        return AllPairs()  # of those that meet
    visits = chosen[0].visits if chosen else None
    if visits is not None and visits < len(cells[0].centroids):
        return ByVisits(cells[0], visits)
    widest: dict[Side, np.ndarray] = {}
    for side in ("left", "right"):
        of_side = sorted((b.number, b.widest) for b in made if b.side == side)
        widest[side] = np.array([width for _, width in of_side])
    return ByCells(cells[0], cells[0].radius(reach), widest)


def one_core_a_strip() -> int:
    """Lets each matrix product run on one core, and as many at once as there are cores.

    So what is done between two products uses all cores as well, and the sums of a product do not
    depend on how many there are.

    Returns:
        How many threads there are.
    """
    from threadpoolctl import threadpool_limits

    threadpool_limits(1, user_api="blas")
    return len(os.sched_getaffinity(0))
