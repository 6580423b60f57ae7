"""Units of blocks → pairs in files and accounts: the wiring of `join.join_unit`."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.utils.shared import Shared

from transforms.accounts.shard_account import ShardAccount, find_account
from transforms.finding.join import JoinSettings, join_unit
from transforms.finding.near import Distance
from transforms.finding.reach import Comparer, reach_of
from transforms.finding.units import Side, Unit, as_shard
from transforms.finding.vector_block import VectorBlock, block_name, read_block
from transforms.input.shards import Shard

_BLOCKS_HELD = 2
_METRICS = "twinbeam"


class FindPairs(beam.PTransform):
    """Units → their accounts; the pairs go to files on the way.

    Args:
        load: opens what compares, once in each worker process; picklable.
        distance: what its similarity is a function of.
        settings: what decides the pairs.
        shared: holds the one copy of the model in a process.
        blocks: accounts of all blocks, which have to be there first.
    """

    def __init__(
        self,
        load: Callable[[], Comparer],
        distance: Distance,
        settings: JoinSettings,
        *,
        shared: Shared,
        blocks: beam.PCollection,
    ):
        """Takes the parts; nothing is opened before a worker starts."""
        super().__init__()
        self._work = _JoinUnit(load, distance, settings, shared)
        self._blocks = blocks

    def expand(self, units: beam.PCollection) -> beam.PCollection:
        """Wires the work."""
        made = beam.pvalue.AsList(self._blocks)
        return units | "Join unit" >> beam.ParDo(self._work, made)


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

    def process(self, unit: Unit, made: Iterable[Any]) -> Iterator[ShardAccount]:
        shard = as_shard(unit, self._settings.inputs)
        account = find_account(self._settings.output, shard, self._settings.run_key)
        if account is None:
            account = join_unit(
                unit, self._block, self._comparer, self._reach, self._settings,
                threads=self._threads,
            )  # fmt: skip
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
