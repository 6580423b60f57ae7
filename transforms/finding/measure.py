"""How much is searched, and how much of all pairs that finds: from anchors searched in full."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.utils.shared import Shared

from transforms.errors import RunError
from transforms.finding.anchors import NEVER, Anchors, Needed, choose_anchors, search_block
from transforms.finding.recall import Recall, least_effort, measure_recall
from transforms.finding.search import Place
from transforms.vector_blocks.vector_block import BlockAccount, block_name, read_block
from transforms.vectors.near import Distance, Reach
from transforms.vectors.reach import Comparer, reach_of
from transforms.vectors.visits import AnyCells, VisitedCells


@dataclass(frozen=True)
class ChosenSearch:
    """What is searched, and the recall that this was measured to have.

    Attributes:
        visits: how many cells each sentence visits; None where there are no cells.
        radius: how far apart sentences are compared; None where the similarity itself says it.
        recall: of that.
    """

    visits: int | None
    radius: float | None
    recall: Recall

    def to_json(self) -> dict[str, Any]:
        """As plain values, for a manifest."""
        effort = {"visits": self.visits, "radius": self.radius}
        return {name: value for name, value in effort.items() if value is not None} | {
            "recall": self.recall.to_json()
        }


@dataclass(frozen=True)
class MeasureSettings:
    """How recall is measured.

    Attributes:
        output: the output folder.
        least: the least similarity of a pair.
        target: the share of pairs to be found.
        anchors: how many sentences are searched in full, about.
        searched: the blocks they are compared with.
        top_k: how many partners of a sentence are looked for; None for all.
        proposes: whether the distance only proposes pairs, because a learned head compares them.
    """

    output: str
    least: float
    target: float
    anchors: int
    searched: tuple[Place, ...]
    top_k: int | None = None
    proposes: bool = False


def choose_search(
    needed: Sequence[Needed], anchors: Sequence[Anchors], cells: int | None,
    settings: MeasureSettings,
) -> ChosenSearch:  # fmt: skip
    """Chooses by one half of the anchors, measures by the other: no half judges its own choice.

    Where there is nothing to learn from, nothing is left out.

    Args:
        needed: the anchors' similar pairs, block by block.
        anchors: all of them.
        cells: how many can be visited; None where blocks are shares by hash.
        settings: what is looked for.

    Raises:
        RunError: a learned head finds no pair of any anchor, and so no distance to search within.
    """
    count = sum(len(part.rows) for part in anchors)
    pairs = _pairs_of(needed, settings.top_k)
    # With --top_k only the anchor looks for partners. Otherwise a pair is found as soon as either
    # of its sentences visits the other's cell.
    visits = pairs.going if settings.top_k else np.minimum(pairs.going, pairs.coming)
    chooses = pairs.anchors % 2 == 0
    effort, radius, chosen = visits, None, cells
    if settings.proposes:
        # If every sentence is an anchor there is no similar pair at all, which is an answer.
        if not len(pairs.anchors) and count < sum(part.among for part in anchors):
            raise RunError(
                f"none of {count:,} sentences that were compared with all others has a similar "
                "one, so it is not known how near similar ones are; give more with --anchors, or "
                "a lower --min_similarity"
            )
        # Radius and visits each lose pairs: with cells, the radius may lose half of what is
        # allowed.
        share = settings.target if cells is None else (1 + settings.target) / 2
        learned_from = pairs.apart[chooses] if chooses.any() else pairs.apart
        radius = least_effort(learned_from, share, np.inf) if len(learned_from) else 0.0
        effort = np.where(pairs.apart <= np.float32(radius), visits, NEVER)
    if cells is not None and chooses.any():
        chosen = int(least_effort(effort[chooses], settings.target, cells))
    # Without cells the effort of a pair is 1, or NEVER beyond the radius.
    found = effort <= (1 if chosen is None else chosen)
    # [1::2]: the odd anchors, which chose nothing; those without any pair count as zeros.
    judged = pairs.anchors[~chooses], pairs.anchors[~chooses & found]
    total, hits = (np.bincount(part, minlength=count)[1::2] for part in judged)
    return ChosenSearch(chosen, radius, measure_recall(total, hits))


def _pairs_of(needed: Sequence[Needed], top_k: int | None) -> Needed:
    """All pairs of the anchors; of each the `top_k` most similar ones alone."""
    nothing = Needed(*(np.zeros(0, kind) for kind in (np.int64, "f4", np.int64, np.int64, "f4")))
    parts = [nothing, *needed]
    columns = ("anchors", "similarities", "going", "coming", "apart")
    pairs = Needed(*(np.concatenate([getattr(part, name) for part in parts]) for name in columns))
    if top_k is None:
        return pairs
    order = np.lexsort((-pairs.similarities, pairs.anchors))
    starts = np.searchsorted(pairs.anchors[order], pairs.anchors[order])
    kept = order[np.arange(len(order)) - starts < top_k]
    return Needed(*(getattr(pairs, name)[kept] for name in columns))


class MeasureRecall(beam.PTransform):
    """Accounts of blocks → one element: what is searched, and the recall of that.

    Args:
        load: opens what compares, once in each worker process; picklable.
        distance: of vectors.
        settings: how recall is measured.
        shared: holds the one copy of the model in a process.
        cells: the cells that the blocks hold, one element; None where blocks are by hash.
    """

    def __init__(
        self,
        load: Callable[[], Comparer],
        distance: Distance,
        settings: MeasureSettings,
        *,
        shared: Shared,
        cells: beam.PCollection | None,
    ):
        super().__init__()
        self._settings = settings
        self._search = _SearchBlock(load, distance, settings, shared)
        self._cells = cells

    def expand(self, made: beam.PCollection) -> beam.PCollection:
        settings, all_made = self._settings, beam.pvalue.AsList(made)
        none = made.pipeline | "No cells" >> beam.Create([])
        cells = beam.pvalue.AsList(self._cells if self._cells is not None else none)
        anchors = (
            made
            | "Left blocks" >> beam.Filter(lambda block: block.side == "left")
            | "Choose anchors" >> beam.Map(_choose, settings, all_made)
        )
        needed = (
            made.pipeline
            | "List searched" >> beam.Create(list(settings.searched))
            | "Spread searched" >> beam.Reshuffle()
            | "Search in full" >> beam.ParDo(self._search, beam.pvalue.AsList(anchors), cells)
        )
        return (
            made.pipeline
            | "One measure" >> beam.Create([settings])
            | "Choose the search"
            >> beam.Map(
                _choose_search, beam.pvalue.AsList(needed), beam.pvalue.AsList(anchors), cells
            )
        )


def _choose(account: BlockAccount, settings: MeasureSettings, made: list[BlockAccount]) -> Anchors:
    total = sum(block.sentences for block in made if block.side == "left")
    block = read_block(settings.output, block_name(account.side, account.number))
    return choose_anchors(account.number, block, settings.anchors / max(total, 1))


def _choose_search(
    settings: MeasureSettings,
    needed: list[tuple[Place, Needed]],
    anchors: list[Anchors],
    cells: list[AnyCells],
) -> ChosenSearch:
    ordered = [found for _, found in sorted(needed, key=lambda part: part[0])]
    most = [
        found.most_visits if isinstance(found, VisitedCells) else len(found.centroids)
        for found in cells
    ]
    return choose_search(ordered, anchors, most[0] if most else None, settings)


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
        self._reach = Reach(self._distance, float("inf"))
        if not self._settings.proposes:
            self._reach = reach_of(self._comparer, self._distance, self._settings.least)

    def process(
        self, place: Place, anchors: list[Anchors], cells: list[AnyCells]
    ) -> Iterator[tuple[Place, Needed]]:
        ordered = sorted(anchors, key=lambda part: part.number)
        block = read_block(self._settings.output, block_name(*place))
        if not len(block) or not sum(len(part.rows) for part in ordered):
            return
        found = search_block(
            place, block, ordered, cells[0] if cells else None,
            self._comparer, self._reach, self._settings.least,
        )  # fmt: skip
        if self._settings.top_k:
            found = _pairs_of([found], self._settings.top_k)
        yield place, found
