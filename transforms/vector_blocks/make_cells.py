"""Blocks of sentences by hash → blocks by cell: near vectors are in few of them."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.accounts.claims import Claim
from transforms.hashing import text_hash
from transforms.input.search_names import Side
from transforms.storage import files
from transforms.storage.exchange import Exchange
from transforms.vector_blocks.units import TableBlocks
from transforms.vector_blocks.vector_block import (
    BLOCKS_FOLDER,
    RAW,
    BlockAccount,
    block_name,
    read_block_table,
    vectors_of,
    with_visits,
    write_block_account,
)
from transforms.vector_blocks.write_block import write_block_table
from transforms.vectors.cells import Cells, choose_centroids, homes
from transforms.vectors.near import Distance
from transforms.vectors.visits import AnyCells, VisitedCells, choose_visited

# How many vectors k-means sees of each cell. Visited cells are many more than blocks, and nothing
# is proved of them: fewer vectors are enough.
SAMPLE_OF_A_CELL = 128
SAMPLE_OF_A_VISITED_CELL = 16
CENTROIDS, VISITED = "centroids.npy", "visited.npz"


@dataclass(frozen=True)
class CellSettings:
    """How blocks by hash become blocks by cell.

    Attributes:
        output: the output folder.
        key: what blocks are made for.
        blocks: how many there are of each side.
        distance: of the comparison.
        visited: how many cells vectors visit; None where each block is a cell, and what need not
            be compared is proved.
        run: that has claimed the output folder; None where no other writer is kept out.
    """

    output: str
    key: str
    blocks: TableBlocks
    distance: Distance
    visited: int | None = None
    run: str | None = None

    @property
    def claim(self) -> Claim:
        """What the run writes by."""
        return Claim(self.output, self.run)

    @property
    def folder(self) -> str:
        """Where blocks are."""
        return files.join(self.output, *BLOCKS_FOLDER.split("/"))

    @property
    def exchange(self) -> Exchange:
        """Where sentences change their block."""
        return Exchange(self.folder, self.blocks.left, self.claim)

    def numbers(self, side: str) -> range:
        """Of the blocks of a side."""
        return range(self.blocks.left if side == "left" else self.blocks.right)


def choose_cells(settings: CellSettings) -> AnyCells:
    """The cells, from a sample of all blocks by hash; those chosen before, where there are any."""
    name = CENTROIDS if settings.visited is None else VISITED
    path = files.join(settings.folder, name)
    # Chosen once, and read back even by the attempt that chose: k-means rounds differently on other
    # machines, and sentences that were assigned earlier must stay in their cells.
    if not files.exists(path):
        sample = np.concatenate([_sample(settings, *block) for block in settings.blocks.all()])
        settings.claim.write(f"{BLOCKS_FOLDER}/{name}", _chosen(sample, settings))
    content = files.read_bytes(path)
    if settings.visited is not None:
        return VisitedCells.from_bytes(content, settings.distance)
    return Cells(settings.distance, np.load(io.BytesIO(content)))


def _chosen(sample: np.ndarray, settings: CellSettings) -> bytes:
    count = settings.blocks.left
    if settings.visited is not None:
        return choose_visited(sample, settings.visited, count, settings.distance).to_bytes()
    content = io.BytesIO()
    np.save(content, choose_centroids(sample, count, settings.distance))
    return content.getvalue()


def _sample(settings: CellSettings, side: Side, number: int) -> np.ndarray:
    """Vectors of a block whose sentences have the least hashes: no other order changes them."""
    table = read_block_table(settings.output, block_name(side, number, RAW))
    hashes = text_hash(table["sentence"].combine_chunks())
    wanted = SAMPLE_OF_A_CELL
    if settings.visited is not None:
        wanted = max(
            wanted, -(-SAMPLE_OF_A_VISITED_CELL * settings.visited // settings.blocks.left)
        )
    return vectors_of(table)[np.argsort(hashes, kind="stable")[:wanted]]


def assign_cells(block: tuple[Side, int], cells: AnyCells, settings: CellSettings) -> int:
    """Hands on the sentences of a block by hash, each to its cell; returns how many."""
    side, number = block
    step = f"{side}-cells"
    done = settings.exchange.done(step, number)
    if done is None:
        table = read_block_table(settings.output, block_name(side, number, RAW))
        keys = text_hash(table["sentence"].combine_chunks())
        if isinstance(cells, VisitedCells):
            visits = cells.nearest(vectors_of(table))
            living = cells.homes(visits, keys)
            table, found = with_visits(table, living, visits), cells.blocks[living]
        else:
            found = homes(cells.centroids, cells.distances(vectors_of(table)), keys)
        done = settings.exchange.write(step, number, table, found, {"rows": table.num_rows})
    return done["rows"]


def gather_cell(block: tuple[Side, int], cells: AnyCells, settings: CellSettings) -> BlockAccount:
    """Writes the sentences of one cell or several as a block, in their order, cell by cell."""
    side, number = block
    table = settings.exchange.read(f"{side}-cells", settings.numbers(side), number)
    if table is None:  # no sentence lives here; the block is planned all the same
        empty = read_block_table(settings.output, block_name(side, 0, RAW)).slice(0, 0)
        table = empty if settings.visited is None else _visiting_nothing(empty, cells)
    # Home by home: `Meeting` takes the sentences of a home as one slice of the block.
    by = [("home", "ascending")] if "home" in table.schema.names else []
    order = pc.sort_indices(table, sort_keys=[*by, ("sentence", "ascending")])
    table = table.take(order).combine_chunks()
    write_block_table(settings.claim, block_name(side, number), table)
    widest = 0.0
    # Of this side's own sentences alone: the smaller the ball around the centroid, the more cells
    # the triangle inequality excludes (see `transforms.vectors.cells`).
    if isinstance(cells, Cells):
        own = Cells(cells.distance, cells.centroids[number : number + 1])
        widest = own.distances(vectors_of(table)).max(initial=0)
    rows = int(pc.sum(pc.list_value_length(table["rows"])).as_py() or 0)
    account = BlockAccount(
        side, number, settings.key, table.num_rows, rows, 0, widest=float(widest)
    )
    return write_block_account(settings.claim, account)


def _visiting_nothing(empty: pa.Table, cells: AnyCells) -> pa.Table:
    visits = cells.most_visits if isinstance(cells, VisitedCells) else 1
    return with_visits(empty, np.zeros(0), np.zeros((0, visits)))


class MakeCells(beam.PTransform):
    """Accounts of blocks by hash → `blocks`: accounts of blocks by cell, and `cells`, one element.

    Args:
        settings: what decides the cells.
        missing: the blocks that are still to be made.
    """

    def __init__(self, settings: CellSettings, missing: Iterable[tuple[Side, int]]):
        super().__init__()
        self._settings = settings
        self._missing = sorted(missing)

    def expand(self, raw: beam.PCollection) -> dict[str, beam.PCollection]:
        settings, pipeline = self._settings, raw.pipeline
        cells = (
            pipeline
            | "One choice" >> beam.Create([settings])
            | "Choose cells" >> beam.Map(_choose, beam.pvalue.AsList(raw))
        )
        chosen = beam.pvalue.AsSingleton(cells)
        # A missing cell may hold sentences of every block by hash. What an earlier run has assigned
        # is skipped by `assign_cells`.
        old = settings.blocks.all() if self._missing else []
        assigned = (
            pipeline
            | "List old blocks" >> beam.Create(old)
            | "Spread old blocks" >> beam.Reshuffle()
            | "Assign cells" >> beam.Map(assign_cells, chosen, settings)
        )
        made = (
            pipeline
            | "List cells" >> beam.Create(self._missing)
            | "Spread cells" >> beam.Reshuffle()
            # `assigned` is only waited for: a cell is complete when all blocks have been divided.
            | "Gather cell" >> beam.Map(_gather, chosen, settings, beam.pvalue.AsList(assigned))
        )
        return {"blocks": made, "cells": cells}


def _choose(settings: CellSettings, _made: list[Any]) -> AnyCells:
    return choose_cells(settings)


def _gather(
    block: tuple[Side, int], cells: AnyCells, settings: CellSettings, _assigned: list[Any]
) -> BlockAccount:
    return gather_cell(block, cells, settings)
