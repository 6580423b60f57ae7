"""Copies of sentences on their way to the blocks whose cells they visit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from transforms.vector_blocks.units import Side
from transforms.vector_blocks.vector_block import (
    VectorBlock,
    as_block,
    block_name,
    read_block_table,
)
from transforms.vectors.visits import VisitedCells

if TYPE_CHECKING:
    from transforms.vector_blocks.make_cells import CellSettings


def send_visitors(
    block: tuple[Side, int], cells: VisitedCells, visits: int, settings: CellSettings
) -> int:
    """Sends copies of a block's sentences to the other blocks they visit; returns how many."""
    side, number = block
    step = _step(side, visits)
    done = settings.exchange.done(step, number)
    if done is None:
        table = read_block_table(settings.output, block_name(side, number))
        rows, to = visited_blocks(as_block(table), number, cells, visits)
        sent = table.take(pa.array(rows))
        done = settings.exchange.write(step, number, sent, to, {"rows": len(rows)})
    return done["rows"]


def visited_blocks(
    block: VectorBlock, number: int, cells: VisitedCells, visits: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a block and the other blocks they visit, each pair of them once: int64 [n] each."""
    count = int(cells.blocks.max()) + 1
    # A cell that is spread over several homes may be in several blocks; a visitor goes to all of
    # them, since its partners may be in any. A block that holds no home gets no visitor.
    holding = np.zeros((len(cells.parts), max(count, number + 1)), bool)
    holding[cells.cells, cells.blocks] = True
    reached = np.zeros((len(block), holding.shape[1]), bool)
    for visit in range(visits):
        reached |= holding[block.visits[:, visit]]
    reached[:, number] = False  # its own block has it already
    rows, to = np.nonzero(reached)
    return rows, to


def read_visitors(
    side: Side, number: int, visits: int, settings: CellSettings
) -> VectorBlock | None:
    """The sentences of a side's other blocks that visit a block; None where there are none."""
    table = settings.exchange.read(_step(side, visits), settings.numbers(side), number)
    return None if table is None else as_block(table)


def _step(side: str, visits: int) -> str:
    return f"{side}-visitors-{visits}"


class SendVisitors(beam.PTransform):
    """What was chosen to be searched, one element with `visits` → how many copies each block sent.

    Args:
        settings: what decided the cells.
        cells: the cells, one element.
        blocks: accounts of all blocks, which have to be there first.
    """

    def __init__(self, settings: CellSettings, cells: beam.PCollection, blocks: beam.PCollection):
        super().__init__()
        self._settings, self._cells, self._blocks = settings, cells, blocks

    def expand(self, chosen: beam.PCollection) -> beam.PCollection:
        return (
            chosen.pipeline
            | "List senders" >> beam.Create(self._settings.blocks.all())
            | "Spread senders" >> beam.Reshuffle()
            | "Send"
            >> beam.Map(
                _send,
                beam.pvalue.AsSingleton(self._cells),
                beam.pvalue.AsSingleton(chosen),
                self._settings,
                beam.pvalue.AsList(self._blocks),
            )
        )


def _send(
    block: tuple[Side, int],
    cells: VisitedCells,
    chosen: Any,
    settings: CellSettings,
    _made: list[Any],
) -> int:
    return send_visitors(block, cells, chosen.visits, settings)
