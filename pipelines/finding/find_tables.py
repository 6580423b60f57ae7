"""What a search works on: the tables that are named, checked and cut, and the bundle's distance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from model.scoring.bundle_scorer import BundleScorer
from pipelines.running import run_inputs
from transforms.errors import UserError
from transforms.input.search_names import Side
from transforms.input.sentence_rows import row_schema
from transforms.input.shards import Plan, RejectedFile
from transforms.labelling.known_labels import KnownLabels
from transforms.labelling.label_files import read_known
from transforms.pairs import PairColumns
from transforms.storage import files
from transforms.vector_blocks import units
from transforms.vector_blocks.make_blocks import FindShard, table_shards
from transforms.vectors.near import Distance
from transforms.vectors.reach import DISTANCES

if TYPE_CHECKING:
    from pipelines.options.find_options import FindOptions


NEEDED = ("faiss", "numba", "threadpoolctl")
ROWS_FOR_CELLS = 2_000_000
LEAST_CELLS = 16
ROWS_OF_A_VISITED_CELL = 512
PROPOSES: Distance = "euclidean"  # where a learned head compares
RECALL_OF_HEADS = 0.99
ANCHORS, ANCHORS_OF_HEADS = 1_000, 200  # a head's anchors are compared with all, one by one


@dataclass(frozen=True)
class FindTables:
    """The plan of both tables.

    Attributes:
        shards: of both, as they are read.
        schemas: of their rows, by side.
        blocks: how many each side has.
        rejected: files that are left out.
        cells: whether sentences are in blocks by cells, or by hash.
        visited: how many cells sentences visit; None where each block is a cell.
    """

    shards: tuple[FindShard, ...]
    schemas: dict[Side, pa.Schema]
    blocks: units.TableBlocks
    rejected: tuple[RejectedFile, ...]
    cells: bool = False
    visited: int | None = None

    def units(self) -> list[units.Unit]:
        """What is compared with what."""
        return units.plan_units(self.blocks, visited=self.visited is not None)

    def inputs(self) -> str:
        """A fingerprint of all that is read."""
        return units.inputs_fingerprint([table.shard for table in self.shards])


def plan_sentence_tables(options: FindOptions) -> tuple[FindOptions, FindTables]:
    """The shards of both tables, the schemas of their rows and their blocks.

    Returns:
        The options, without an id column where there is none, and the tables.

    Raises:
        UserError: names the file that cannot be used and why.
    """

    def planned(patterns: Sequence[str]) -> Plan:
        return run_inputs.plan_input(options, patterns, options.columns, named_after_input=False)

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
        visited_cells(options, rows),
    )


def wanted_cells(options: FindOptions, rows: dict[Side, int]) -> int:
    """How many cells to make: the given number, or none below ROWS_FOR_CELLS rows."""
    most, by_cells = max(rows.values()), options.recall is not None and not options.learned
    if options.cells is not None and (options.cells or not by_cells):
        return options.cells
    few = most <= ROWS_FOR_CELLS and not by_cells
    return 0 if few else max(units.block_count(most), LEAST_CELLS)


def visited_cells(options: FindOptions, rows: dict[Side, int]) -> int | None:
    """How many cells sentences visit; None where what need not be compared is proved."""
    cells = wanted_cells(options, rows)
    if not cells or options.recall is None or options.top_k is not None:
        return None
    return options.cells or max(max(rows.values()) // ROWS_OF_A_VISITED_CELL, LEAST_CELLS)


def plan_blocks(options: FindOptions, rows: dict[Side, int]) -> units.TableBlocks:
    """How many blocks each side has; where they are cells, both have the same."""
    cells, two = wanted_cells(options, rows), "right" in rows
    if visited_cells(options, rows) is not None:
        cells = units.block_count(max(rows.values()))
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
        UserError: there is neither.
    """
    found = (
        options.min_similarity if options.min_similarity is not None else bundle.get("threshold")
    )
    if found is None:
        raise UserError(f"--model {options.model} has no threshold; give --min_similarity")
    return float(found)


def with_labels(options: FindOptions) -> tuple[FindOptions, KnownLabels | None]:
    """The options, and what is known of pairs where they are to be trained on.

    Raises:
        UserError: a file of labels cannot be used.
    """
    if not options.labelled:
        return options, None
    columns = PairColumns(label="label")
    known = read_known(options.labelled, columns)
    return replace(options, labels=known.fingerprint), known


def with_comparison(options: FindOptions, scorer: BundleScorer) -> tuple[FindOptions, Distance]:
    """The options for a bundle's comparison, and the distance that is searched by.

    It is the distance that the similarity is a function of. Where that is a learned head, it is the
    distance that its pairs are proposed by; what that misses is measured.

    Raises:
        UserError: the comparison is not symmetric.
    """
    model = options.model
    kind, symmetric = scorer.comparison()
    if not symmetric:
        raise UserError(
            f"--model {model} compares by {kind}, which depends on the order of the two "
            "sentences; find needs a symmetric comparison"
        )
    for distance in DISTANCES:
        if kind == distance:
            anchors = options.anchors or ANCHORS
            return replace(options, anchors=anchors if options.recall else None), distance
    recall = options.recall if options.recall is not None else RECALL_OF_HEADS
    anchors = options.anchors or ANCHORS_OF_HEADS
    return replace(options, learned=True, recall=recall, anchors=anchors), PROPOSES


def check_packages() -> None:
    """Checks that the packages which a search needs, and scoring does not, are installed.

    Raises:
        UserError: it is not.
    """
    for name in NEEDED:
        if find_spec(name) is None:
            raise UserError(f"find needs {name}: pip install 'twinbeam[find]'")


def check_inputs_apart(options: FindOptions, tables: FindTables) -> None:
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
