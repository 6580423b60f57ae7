"""Blocks of sentences by hash → blocks by cell: what is near lies in few of them."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow.compute as pc

from transforms.finding.names import Side
from transforms.finding.units import TableBlocks
from transforms.finding.vector_block import (
    BLOCKS_FOLDER,
    RAW,
    BlockAccount,
    block_name,
    read_block_table,
    vectors_of,
    write_block_account,
    write_block_table,
)
from transforms.hashing import text_hash
from transforms.storage import files
from transforms.storage.exchange import Exchange
from transforms.vectors.cells import Cells, choose_centroids, homes
from transforms.vectors.near import Distance

SAMPLE_OF_A_CELL = 128
CENTROIDS = "centroids.npy"


@dataclass(frozen=True)
class CellSettings:
    """How blocks by hash become blocks by cell.

    Attributes:
        output: the output folder.
        key: what blocks are made for.
        blocks: how many there are of each side; as many as cells.
        distance: of the comparison.
    """

    output: str
    key: str
    blocks: TableBlocks
    distance: Distance

    @property
    def folder(self) -> str:
        """Where blocks are."""
        return files.join(self.output, *BLOCKS_FOLDER.split("/"))

    @property
    def exchange(self) -> Exchange:
        """Where sentences change their block."""
        return Exchange(self.folder, self.blocks.left)

    def numbers(self, side: str) -> range:
        """Of the blocks of a side."""
        return range(self.blocks.left if side == "left" else self.blocks.right)


def choose_cells(settings: CellSettings) -> Cells:
    """The cells, from a sample of all blocks by hash; those chosen before, where there are any."""
    path = files.join(settings.folder, CENTROIDS)
    if not files.exists(path):
        sample = np.concatenate([_sample(settings, *block) for block in settings.blocks.all()])
        chosen = choose_centroids(sample, settings.blocks.left, settings.distance)
        content = io.BytesIO()
        np.save(content, chosen)
        files.write_bytes(path, content.getvalue())
    return Cells(settings.distance, np.load(io.BytesIO(files.read_bytes(path))))


def _sample(settings: CellSettings, side: Side, number: int) -> np.ndarray:
    """Vectors of a block whose sentences have the least hashes: no other order changes them."""
    table = read_block_table(settings.output, block_name(side, number, RAW))
    hashes = text_hash(table["sentence"].combine_chunks())
    return vectors_of(table)[np.argsort(hashes, kind="stable")[:SAMPLE_OF_A_CELL]]


def assign_cells(block: tuple[Side, int], cells: Cells, settings: CellSettings) -> int:
    """Hands on the sentences of a block by hash, each to its cell; returns how many."""
    side, number = block
    step = f"{side}-cells"
    done = settings.exchange.done(step, number)
    if done is None:
        table = read_block_table(settings.output, block_name(side, number, RAW))
        keys = text_hash(table["sentence"].combine_chunks())
        found = homes(cells.centroids, cells.distances(vectors_of(table)), keys)
        done = settings.exchange.write(step, number, table, found, {"rows": table.num_rows})
    return done["rows"]


def gather_cell(block: tuple[Side, int], cells: Cells, settings: CellSettings) -> BlockAccount:
    """Writes a cell's sentences as a block, in their order."""
    side, number = block
    table = settings.exchange.read(f"{side}-cells", settings.numbers(side), number)
    if table is None:
        empty = read_block_table(settings.output, block_name(side, 0, RAW))
        table = empty.slice(0, 0)
    table = table.take(pc.sort_indices(table["sentence"])).combine_chunks()
    write_block_table(settings.output, block_name(side, number), table)
    own = Cells(cells.distance, cells.centroids[number : number + 1])
    widest = own.distances(vectors_of(table)).max(initial=0)
    rows = int(pc.sum(pc.list_value_length(table["rows"])).as_py() or 0)
    account = BlockAccount(
        side, number, settings.key, table.num_rows, rows, 0, widest=float(widest)
    )
    return write_block_account(settings.output, account)


class MakeCells(beam.PTransform):
    """Accounts of blocks by hash → `blocks`: accounts of blocks by cell, and `cells`, one element.

    Args:
        settings: what decides the cells.
        missing: the blocks that are still to be made.
    """

    def __init__(self, settings: CellSettings, missing: Iterable[tuple[Side, int]]):
        """Takes the parts; nothing is opened before a worker starts."""
        super().__init__()
        self._settings = settings
        self._missing = sorted(missing)

    def expand(self, raw: beam.PCollection) -> dict[str, beam.PCollection]:
        """Wires the work."""
        settings, pipeline = self._settings, raw.pipeline
        cells = (
            pipeline
            | "One choice" >> beam.Create([settings])
            | "Choose cells" >> beam.Map(_choose, beam.pvalue.AsList(raw))
        )
        chosen = beam.pvalue.AsSingleton(cells)
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
            | "Gather cell" >> beam.Map(_gather, chosen, settings, beam.pvalue.AsList(assigned))
        )
        return {"blocks": made, "cells": cells}


def _choose(settings: CellSettings, _made: list[Any]) -> Cells:
    return choose_cells(settings)


def _gather(
    block: tuple[Side, int], cells: Cells, settings: CellSettings, _assigned: list[Any]
) -> BlockAccount:
    return gather_cell(block, cells, settings)
