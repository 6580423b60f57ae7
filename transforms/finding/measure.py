"""How many cells to visit, and how much of all pairs that finds: from anchors searched in full."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import apache_beam as beam
import numpy as np
from apache_beam.utils.shared import Shared

from transforms.finding.recall import Recall, least_effort, measure
from transforms.finding.search import Place
from transforms.finding.vector_block import BlockAccount, VectorBlock, block_name, read_block
from transforms.hashing import text_hash
from transforms.vectors.cells import Cells
from transforms.vectors.near import Distance, Reach, near_pairs
from transforms.vectors.reach import Comparer, reach_of, reachable

_ANCHOR_KEY = "twinbeam-anchor1"  # 16 characters, as SipHash wants


@dataclass(frozen=True)
class Anchors:
    """Sentences that are compared with all others.

    Attributes:
        number: of the block of the left side that they are in.
        rows: their places in it, [n].
        vectors: float32 [n, d].
    """

    number: int
    rows: np.ndarray
    vectors: np.ndarray


@dataclass(frozen=True)
class Needed:
    """Pairs of anchors with the sentences of one block.

    Attributes:
        anchors: which anchor each is of, int64 [n].
        visits: how many cells have to be visited to find it, int64 [n].
    """

    anchors: np.ndarray
    visits: np.ndarray


@dataclass(frozen=True)
class ChosenVisits:
    """How many cells are visited, and the recall that this was measured to have."""

    visits: int
    recall: Recall


def choose_anchors(number: int, block: VectorBlock, share: float) -> Anchors:
    """About such a share of a block's sentences, by a hash of theirs."""
    hashes = text_hash(block.sentences, _ANCHOR_KEY)
    rows = np.flatnonzero((hashes >> np.uint64(11)) / float(1 << 53) < share)
    return Anchors(number, rows, block.vectors[rows])


def search_block(
    place: Place,
    block: VectorBlock,
    anchors: Sequence[Anchors],
    cells: Cells,
    comparer: Comparer,
    reach: Reach,
    least: float,
) -> Needed:
    """Finds all similar pairs of the anchors with a block's sentences."""
    vectors = np.concatenate([part.vectors for part in anchors])
    homes = np.repeat([part.number for part in anchors], [len(part.rows) for part in anchors])
    rows = np.concatenate([part.rows for part in anchors])
    near = [np.stack(pair, axis=1) for pair in near_pairs(vectors, block.vectors, reach)]
    pairs = np.concatenate([np.zeros((0, 2), np.int64), *near])
    itself = (homes[pairs[:, 0]] == place[1]) & (rows[pairs[:, 0]] == pairs[:, 1])
    pairs = pairs[~itself] if place[0] == "left" else pairs
    if len(pairs):
        both = np.concatenate([vectors, block.vectors])
        found = comparer.compare(both, pairs[:, 0], pairs[:, 1] + len(vectors))
        pairs = pairs[reachable(found[0], least)]
    going = _ranks(cells, vectors)[pairs[:, 0], place[1]]
    coming = _ranks(cells, block.vectors[pairs[:, 1]])[np.arange(len(pairs)), homes[pairs[:, 0]]]
    same = homes[pairs[:, 0]] == place[1]
    return Needed(pairs[:, 0], np.where(same, 1, np.minimum(going, coming)))


def _ranks(cells: Cells, vectors: np.ndarray) -> np.ndarray:
    """At which visit each vector comes to each cell, from 1: int64 [n, c]."""
    order = np.argsort(cells.distances(vectors), axis=1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(1, order.shape[1] + 1)[None], axis=1)
    return ranks


def choose_visits(
    needed: Sequence[Needed], anchors: int, target: float, cells: int
) -> ChosenVisits:
    """Chooses by one half of the anchors, measures by the other: no half judges its own choice."""
    which = np.concatenate([np.zeros(0, np.int64), *(part.anchors for part in needed)])
    visits = np.concatenate([np.zeros(0, np.int64), *(part.visits for part in needed)])
    chooses = which % 2 == 0
    chosen = cells  # where there is nothing to learn from, nothing is left out
    if chooses.any():
        ones = np.ones(int(chooses.sum()))
        chosen = least_effort(visits[chooses], ones, target, cells)
    judges = ~chooses
    pairs = np.bincount(which[judges], minlength=anchors)[1::2]
    found = np.bincount(which[judges & (visits <= chosen)], minlength=anchors)[1::2]
    return ChosenVisits(chosen, measure(pairs, found))


@dataclass(frozen=True)
class MeasureSettings:
    """How recall is measured.

    Attributes:
        output: the output folder.
        least: the least similarity of a pair.
        target: the share of pairs to be found.
        anchors: how many sentences are searched in full, about.
        searched: the blocks they are compared with.
    """

    output: str
    least: float
    target: float
    anchors: int
    searched: tuple[Place, ...]


class MeasureRecall(beam.PTransform):
    """Accounts of blocks → one element: how many cells to visit, and the recall of that."""

    def __init__(
        self,
        load: Callable[[], Comparer],
        distance: Distance,
        settings: MeasureSettings,
        *,
        shared: Shared,
        cells: beam.PCollection,
    ):
        """Takes the parts; nothing is opened before a worker starts."""
        super().__init__()
        self._settings = settings
        self._search = _SearchBlock(load, distance, settings, shared)
        self._cells = cells

    def expand(self, made: beam.PCollection) -> beam.PCollection:
        """Wires the work."""
        settings, all_made = self._settings, beam.pvalue.AsList(made)
        anchors = (
            made
            | "Left blocks" >> beam.Filter(lambda block: block.side == "left")
            | "Choose anchors" >> beam.Map(_choose, settings, all_made)
        )
        needed = (
            made.pipeline
            | "List searched" >> beam.Create(list(settings.searched))
            | "Spread searched" >> beam.Reshuffle()
            | "Search in full"
            >> beam.ParDo(
                self._search, beam.pvalue.AsList(anchors), beam.pvalue.AsSingleton(self._cells)
            )
        )
        return (
            made.pipeline
            | "One measure" >> beam.Create([settings.target])
            | "Choose visits"
            >> beam.Map(
                _choose_visits,
                beam.pvalue.AsList(needed),
                beam.pvalue.AsList(anchors),
                beam.pvalue.AsSingleton(self._cells),
            )
        )


def _choose(account: BlockAccount, settings: MeasureSettings, made: list[BlockAccount]) -> Anchors:
    total = sum(block.sentences for block in made if block.side == "left")
    block = read_block(settings.output, block_name(account.side, account.number))
    return choose_anchors(account.number, block, settings.anchors / max(total, 1))


def _choose_visits(
    target: float, needed: list[Needed], anchors: list[Anchors], cells: Cells
) -> ChosenVisits:
    count = sum(len(part.rows) for part in anchors)
    return choose_visits(needed, count, target, len(cells.centroids))


class _SearchBlock(beam.DoFn):
    def __init__(
        self,
        load: Callable[[], Comparer],
        distance: Distance,
        settings: MeasureSettings,
        shared: Shared,
    ):
        self._load = load
        self._distance = distance
        self._settings = settings
        self._shared = shared

    def setup(self) -> None:
        self._comparer = self._shared.acquire(self._load, tag="model")
        self._reach = reach_of(self._comparer, self._distance, self._settings.least)

    def process(self, place: Place, anchors: list[Anchors], cells: Cells) -> Iterator[Needed]:
        ordered = sorted(anchors, key=lambda part: part.number)
        block = read_block(self._settings.output, block_name(*place))
        if len(block) and sum(len(part.rows) for part in ordered):
            yield search_block(
                place, block, ordered, cells, self._comparer, self._reach, self._settings.least
            )
