"""Units of blocks → pairs in files and accounts, and lists of the most similar before them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics

from transforms.accounts.shard_account import ShardAccount, find_account
from transforms.finding.best_partners import Best, PartnerSearch, as_owned, offer_block
from transforms.finding.block_worker import BlockWorker, Made
from transforms.finding.join import best_exchange, join_unit
from transforms.finding.measure import ChosenSearch
from transforms.finding.near_blocks import JoinParts
from transforms.finding.search import Place
from transforms.finding.write_pairs import JoinSettings
from transforms.input.search_names import Side
from transforms.input.shards import Shard
from transforms.vector_blocks.units import TableBlocks, Unit, as_shard
from transforms.vector_blocks.vector_block import BlockAccount
from transforms.vectors.visits import AnyCells

_METRICS = "twinbeam"


class FindPairs(beam.PTransform):
    """Units → their accounts; the pairs go to files on the way.

    Args:
        worker: compares.
        made: what has to be there first.
    """

    def __init__(self, worker: BlockWorker, made: Made):
        super().__init__()
        self._join = _JoinUnit(worker)
        self._made = made

    def expand(self, units: beam.PCollection) -> beam.PCollection:
        nothing = units.pipeline | "Nothing" >> beam.Create([])
        return units | "Join unit" >> beam.ParDo(self._join, *self._made.side_inputs(nothing))


class FindBest(beam.PTransform):
    """Numbers of blocks of the left side → the same, once their lists of partners are there.

    Args:
        worker: compares.
        blocks: how many each side has.
        made: what has to be there first.
    """

    def __init__(self, worker: BlockWorker, blocks: TableBlocks, made: Made):
        super().__init__()
        self._find = _FindBest(worker, blocks)
        self._made = made

    def expand(self, numbers: beam.PCollection) -> beam.PCollection:
        nothing = numbers.pipeline | "Nothing" >> beam.Create([])
        return (
            numbers
            | "Spread blocks" >> beam.Reshuffle()
            | "List the best" >> beam.ParDo(self._find, *self._made.side_inputs(nothing))
        )


class _JoinUnit(beam.DoFn):
    def __init__(self, worker: BlockWorker):
        self._worker = worker

    def setup(self) -> None:
        self._worker.setup()

    def process(
        self,
        unit: Unit,
        made: list[BlockAccount],
        cells: list[AnyCells],
        chosen: list[ChosenSearch],
        _ready: list[Any],
    ) -> Iterator[ShardAccount]:
        settings = self._worker.settings
        shard = as_shard(unit, settings.inputs)
        # `_ready` is not read; as a side input it holds units back until lists and visitors are
        # there. A runner that lost a worker hands out finished units again: their accounts are
        # reused.
        account = find_account(settings.output, shard, settings.run_key)
        if account is None:
            account = join_unit(unit, self._worker.parts(made, cells, chosen), settings)
        for name, count in account.counts.items():
            Metrics.counter(_METRICS, name).inc(count)
        yield account


class _FindBest(beam.DoFn):
    def __init__(self, worker: BlockWorker, blocks: TableBlocks):
        self._worker = worker
        self._blocks = blocks

    def setup(self) -> None:
        self._worker.setup()

    def process(
        self,
        number: int,
        made: list[BlockAccount],
        cells: list[AnyCells],
        chosen: list[ChosenSearch],
        _ready: list[Any],
    ) -> Iterator[int]:
        parts = self._worker.parts(made, cells, chosen)
        find_best(number, self._blocks, parts, self._worker.settings)
        yield number


def find_best(number: int, blocks: TableBlocks, parts: JoinParts, settings: JoinSettings) -> int:
    """Lists the most similar partners of a block's sentences; doing it twice is harmless.

    Returns:
        How many pairs that gives.
    """
    exchange = best_exchange(settings, blocks.left)
    done = exchange.done("best", number)
    if done is None:
        # A pair may be on the lists of both of its sentences, made in two blocks. Either list sends
        # it to the one block that writes it, where `owned_pairs` drops the repeat.
        table, owners = as_owned(number, _search(number, blocks, parts, settings), blocks.within)
        done = exchange.write("best", number, table, owners, {"pairs": table.num_rows})
    return done["pairs"]


def _search(number: int, blocks: TableBlocks, parts: JoinParts, settings: JoinSettings) -> Best:
    best, own = Best.none_of(settings.top_k or 0), _left(number)
    search = PartnerSearch(parts.comparer, parts.reach, settings.least, parts.threads)
    for place in _others(blocks):
        if place != own and not parts.search.needs(own, place):
            continue
        block = parts.load("left", number)
        other = block if place == own else parts.load(*place)
        rows = parts.search.going(own, block, place, other)
        offer_block(best, block, place, other, rows, search)
    return best


def _others(blocks: TableBlocks) -> list[Place]:
    """The blocks that partners are looked for in."""
    left = [_left(number) for number in range(blocks.left) if blocks.within]
    return left + [("right", number) for number in range(blocks.right)]


def _left(number: int) -> Place:
    return "left", number


def unit_of(shard: Shard) -> Unit:
    """The unit that a planned shard represents."""
    name = shard.name.removesuffix(".parquet")
    block = int(name.split("-")[1])
    side: Side = "right" if "-right-" in name else "left"
    return Unit(block, side, shard.first_row_group, shard.end_row_group)
