"""Units of blocks → pairs in files and accounts: the wiring of `join.join_unit`."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import apache_beam as beam
import numpy as np
from apache_beam.metrics import Metrics
from apache_beam.utils.shared import Shared

from transforms.accounts.shard_account import ShardAccount, find_account
from transforms.finding.join import JoinParts, JoinSettings, join_unit
from transforms.finding.names import Side
from transforms.finding.search import AllPairs, ByCells, ByVisits, Search
from transforms.finding.units import Unit, as_shard
from transforms.finding.vector_block import BlockAccount, VectorBlock, block_name, read_block
from transforms.input.shards import Shard
from transforms.vectors.cells import Cells
from transforms.vectors.near import Distance, Reach
from transforms.vectors.reach import Comparer, reach_of

_BLOCKS_HELD = 2
_METRICS = "twinbeam"


@dataclass(frozen=True)
class Made:
    """What has to be there before pairs are found.

    Attributes:
        blocks: accounts of all blocks.
        cells: the cells that the blocks hold, one element; None where blocks are by hash.
        visits: how many cells each sentence visits, one element; None where none is excluded but
            by the triangle inequality.
    """

    blocks: beam.PCollection
    cells: beam.PCollection | None = None
    visits: beam.PCollection | None = None


class FindPairs(beam.PTransform):
    """Units → their accounts; the pairs go to files on the way.

    Args:
        load: opens what compares, once in each worker process; picklable.
        distance: what its similarity is a function of.
        settings: what decides the pairs.
        shared: holds the one copy of the model in a process.
        made: what has to be there first.
    """

    def __init__(
        self,
        load: Callable[[], Comparer],
        distance: Distance,
        settings: JoinSettings,
        *,
        shared: Shared,
        made: Made,
    ):
        """Takes the parts; nothing is opened before a worker starts."""
        super().__init__()
        self._work = _JoinUnit(load, distance, settings, shared)
        self._made = made

    def expand(self, units: beam.PCollection) -> beam.PCollection:
        """Wires the work."""
        nothing = units.pipeline | "Nothing" >> beam.Create([])
        made = self._made
        return units | "Join unit" >> beam.ParDo(
            self._work,
            beam.pvalue.AsList(made.blocks),
            beam.pvalue.AsList(made.cells if made.cells is not None else nothing),
            beam.pvalue.AsList(made.visits if made.visits is not None else nothing),
        )


class _JoinUnit(beam.DoFn):
    def __init__(
        self,
        load: Callable[[], Comparer],
        distance: Distance,
        settings: JoinSettings,
        shared: Shared,
    ):
        self._load = load
        self._distance = distance
        self._settings = settings
        self._shared = shared

    def setup(self) -> None:
        self._comparer = self._shared.acquire(self._load, tag="model")
        self._reach = reach_of(self._comparer, self._distance, self._settings.least)
        self._held: OrderedDict[str, VectorBlock] = OrderedDict()
        self._threads = one_core_a_strip()

    def process(
        self, unit: Unit, made: list[BlockAccount], cells: list[Cells], visits: list[int]
    ) -> Iterator[ShardAccount]:
        shard = as_shard(unit, self._settings.inputs)
        account = find_account(self._settings.output, shard, self._settings.run_key)
        if account is None:
            parts = JoinParts(
                self._block,
                {(block.side, block.number): block.sentences for block in made},
                search_of(made, cells, visits, self._reach),
                self._comparer,
                self._reach,
                self._threads,
            )
            account = join_unit(unit, parts, self._settings)
        for name, count in account.counts.items():
            Metrics.counter(_METRICS, name).inc(count)
        yield account

    def _block(self, side: str, number: int) -> VectorBlock:
        """A block, held for the next unit: neighbours in the plan share one."""
        name = block_name(side, number)
        if name not in self._held:
            self._held[name] = read_block(self._settings.output, name)
            while len(self._held) > _BLOCKS_HELD:
                self._held.popitem(last=False)
        self._held.move_to_end(name)
        return self._held[name]


def search_of(
    made: Sequence[BlockAccount], cells: Sequence[Cells], visits: Sequence[int], reach: Reach
) -> Search:
    """What is compared: all, or what cells do not exclude, or what is worth a visit."""
    if not cells:
        return AllPairs()
    if visits and visits[0] < len(cells[0].centroids):
        return ByVisits(cells[0], visits[0])
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


def unit_of(shard: Shard) -> Unit:
    """The unit that a planned shard stands for."""
    name = shard.name.removesuffix(".parquet")
    block = int(name.split("-")[1])
    side: Side = "right" if "-right-" in name else "left"
    return Unit(block, side, shard.first_row_group, shard.end_row_group)
