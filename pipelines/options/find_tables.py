"""What a search works on: the tables that are named, checked and cut, and the bundle's distance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import pyarrow as pa

from model.scoring.bundle_scorer import BundleScorer
from pipelines.options.find_options import FindOptions
from transforms.errors import UserError
from transforms.finding import units
from transforms.finding.make_blocks import FindShard, table_shards
from transforms.finding.names import Side
from transforms.finding.rows import row_schema
from transforms.input.shards import Plan, RejectedFile, plan
from transforms.storage import files
from transforms.vectors.near import Distance
from transforms.vectors.reach import DISTANCES

NEEDED = ("faiss", "numba", "threadpoolctl")
ROWS_FOR_CELLS = 2_000_000
LEAST_CELLS = 16


@dataclass(frozen=True)
class FindTables:
    """The plan of both tables.

    Attributes:
        shards: of both, as they are read.
        schemas: of their rows, by side.
        blocks: how many each side has.
        rejected: files that are left out.
        cells: whether a block is a cell, or a share by hash.
        strips: whether a block is compared with all others in one unit.
    """

    shards: tuple[FindShard, ...]
    schemas: dict[Side, pa.Schema]
    blocks: units.TableBlocks
    rejected: tuple[RejectedFile, ...]
    cells: bool = False
    strips: bool = False

    def units(self) -> list[units.Unit]:
        """What is compared with what."""
        return units.plan_units(self.blocks, strips=self.strips)

    def inputs(self) -> str:
        """A fingerprint of all that is read."""
        return units.fingerprint([table.shard for table in self.shards])


def plan_tables(options: FindOptions) -> tuple[FindOptions, FindTables]:
    """The shards of both tables, the schemas of their rows and their blocks.

    Returns:
        The options, without an id column where there is none, and the tables.

    Raises:
        UserError: names the file that cannot be used and why.
    """

    def planned(patterns: Sequence[str]) -> Plan:
        return plan(
            patterns,
            options.columns,
            shard_rows=options.shard_rows,
            on_bad_file=options.on_bad_file,
            int96=options.int96,
            partition_columns=options.partition_columns,
        )

    sides: dict[Side, Plan] = {"left": planned(options.left)}
    if options.right:
        sides["right"] = planned(options.right)
    schemas = [schema for side in sides.values() for schema in side.schemas.values()]
    named = options.columns.id is not None
    if named and not options.id_named and all(options.columns.id not in s.names for s in schemas):
        options = replace(options, columns=replace(options.columns, id=None))
    alone = len(sides) == 1
    rows = {side: sum(shard.rows for shard in found.shards) for side, found in sides.items()}
    of_rows = {side: row_schema(found.schemas, options.columns) for side, found in sides.items()}
    check_ids_alike(options, of_rows)
    return options, FindTables(
        tuple(t for side in sides for t in table_shards(side, sides[side].shards, alone=alone)),
        of_rows,
        plan_blocks(options, rows),
        tuple(file for found in sides.values() for file in found.rejected),
        wanted_cells(options, rows) > 0,
        options.top_k is not None,
    )


def wanted_cells(options: FindOptions, rows: dict[Side, int]) -> int:
    """How many cells are to be made: what was said, or none below ROWS_FOR_CELLS."""
    if options.top_k is not None:
        return 0
    most = max(rows.values())
    if options.cells is not None and (options.cells or options.recall is None):
        return options.cells
    few = most <= ROWS_FOR_CELLS and options.recall is None
    return 0 if few else max(units.block_count(most), LEAST_CELLS)


def plan_blocks(options: FindOptions, rows: dict[Side, int]) -> units.TableBlocks:
    """How many blocks each side has; where they are cells, both have the same."""
    cells, two = wanted_cells(options, rows), "right" in rows
    left = cells or units.block_count(rows["left"])
    right = (cells or units.block_count(rows["right"])) if two else 0
    return units.TableBlocks(left, right, options.within)


def check_ids_alike(options: FindOptions, schemas: dict[Side, pa.Schema]) -> None:
    """Checks that ids of new and old rows can be put in one order.

    Raises:
        UserError: they are of different types.
    """
    types = [schema.field("id").type for schema in schemas.values()]
    if options.within and len(set(types)) > 1:
        raise UserError(
            f"the ids of --input are {types[0]}, those of --against {types[1]}; make them the same"
        )


def least_similarity(options: FindOptions, bundle: dict[str, Any]) -> float:
    """The least similarity of a pair: the option, or the bundle's threshold.

    Raises:
        UserError: neither is there.
    """
    found = (
        options.min_similarity if options.min_similarity is not None else bundle.get("threshold")
    )
    if found is None:
        raise UserError(f"--model {options.model} has no threshold; give --min_similarity")
    return float(found)


def usable_distance(model: str, scorer: BundleScorer) -> Distance:
    """The distance that a bundle's similarity is a function of.

    Raises:
        UserError: it is a function of something else.
    """
    kind, symmetric = scorer.comparison()
    if not symmetric:
        raise UserError(
            f"--model {model} compares by {kind}, which says another thing of a pair than of its "
            "mirror; find needs a symmetric comparison"
        )
    for distance in DISTANCES:
        if kind == distance:
            return distance
    raise UserError(
        f"--model {model} compares by a learned head ({kind}); expected a bundle that compares by "
        f"{', '.join(DISTANCES)}"
    )


def check_packages() -> None:
    """Checks that what a search needs besides scoring is installed.

    Raises:
        UserError: it is not.
    """
    for name in NEEDED:
        if find_spec(name) is None:
            raise UserError(f"find needs {name}: pip install 'twinbeam[find]'")


def check_output(options: FindOptions, tables: FindTables) -> None:
    """Checks that the run does not write where it reads.

    Raises:
        UserError: the output folder holds an input.
    """
    for table in tables.shards:
        if files.is_inside(table.shard.source, options.output):
            raise UserError(
                f"--output {options.output} holds the input {table.shard.source}; "
                "choose another folder"
            )
