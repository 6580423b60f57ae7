"""What the graph of a search is made from."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from model.scoring.bundle_scorer import BundleScorer
from pipelines.finding.find_tables import (
    FindTables,
)
from transforms.accounts import output_folder, shard_account
from transforms.finding.measure import MeasureSettings
from transforms.finding.pair_rows import pair_schema
from transforms.finding.write_pairs import TRAINING_FIELDS, JoinSettings
from transforms.input.search_names import Side
from transforms.scoring.embedding_store import EmbeddingStore
from transforms.vector_blocks import units
from transforms.vector_blocks.make_blocks import FindShard, TableSettings
from transforms.vector_blocks.make_cells import CellSettings
from transforms.vectors.near import Distance
from transforms.vectors.reach import Comparer
from transforms.versions import versions

if TYPE_CHECKING:
    from pipelines.options.find_options import FindOptions


PACKAGES = ("apache-beam", "pyarrow", "numpy", "tensorflow", "keras")


def search_key(options: FindOptions, bundle: dict[str, Any]) -> str:
    """A fingerprint of all that decides what is found, but the input."""
    # Other versions may round differently, and pairs near the limit would differ from block to
    # block.
    made_by = {"bundle": bundle["fingerprint"], "versions": versions(PACKAGES)}
    return shard_account.run_key(**made_by, **options.identity())


def plan_search(
    options: FindOptions,
    tables: FindTables,
    scorer: BundleScorer,
    bundle: dict[str, Any],
    distance: Distance,
    key: str,
    work: output_folder.Work,
) -> FindSearch:
    """All that the graph is made from."""
    counts: dict[Side, int] = {"left": tables.blocks.left}
    counts |= {"right": tables.blocks.right} if tables.blocks.right else {}
    reading = TableSettings(
        options.output,
        key,
        tables.inputs(),
        options.columns,
        tables.schemas,
        counts,
        frozenset(tables.blocks.all()),
        frozenset(shard.name for shard in work.todo),
        one_space=options.within,
        max_chars=options.max_chars,
        compression=options.compression,
        run=work.claim.run,
    )
    left, right = tables.schemas["left"], tables.schemas.get("right", tables.schemas["left"])
    fields = (*scorer.fields(bundle), *(TRAINING_FIELDS if options.labelled else ()))
    least = float(options.min_similarity or 0.0)
    joining = JoinSettings(
        options.output,
        key,
        tables.inputs(),
        least,
        pair_schema(left, right, options.columns.keep, fields),
        options.within,
        options.columns.keep,
        options.equal,
        options.top_k,
        options.compression,
        work.claim.run,
        most=math.inf if options.max_similarity is None else options.max_similarity,
    )
    return FindSearch(
        scorer.load,
        distance,
        reading,
        joining,
        tables.shards,
        tables.blocks,
        tables.cells,
        open_embedding_store(options, bundle),
        measure_settings(options, tables, least),
        tables.visited,
    )


def open_embedding_store(options: FindOptions, bundle: dict[str, Any]) -> EmbeddingStore | None:
    """The vectors that are kept from run to run, where they are."""
    if not options.embedding_store:
        return None
    found = bundle["fingerprint"], bundle["dimensions"]
    return EmbeddingStore(options.embedding_store, *found).open()


def measure_settings(
    options: FindOptions, tables: FindTables, least: float
) -> MeasureSettings | None:
    """How recall is measured, where not all pairs are to be found."""
    if options.recall is None:
        return None
    # Anchors are of the left side: between two tables their partners are on the right side only.
    searched = [b for b in tables.blocks.all() if options.within or b[0] == "right"]
    return MeasureSettings(
        options.output,
        least,
        options.recall,
        options.anchors or 0,
        tuple(searched),
        options.top_k,
        options.learned,
    )


@dataclass(frozen=True)
class FindSearch:
    """All that a search is made from.

    Attributes:
        load: opens the bundle in a worker.
        distance: what its similarity is a function of or, of a learned head, what proposes pairs.
        reading: how tables are read; `missing` are all blocks.
        joining: how pairs are found.
        tables: shards of both tables.
        blocks: how many blocks each side has.
        cells: whether sentences are in blocks by cells; else they are in shares by hash.
        visited: how many cells sentences visit; None where each block is a cell.
        store: vectors of earlier runs, or None.
        measuring: how many cells are visited is measured for this; None where nothing is left out.
    """

    load: Callable[[], Comparer]
    distance: Distance
    reading: TableSettings
    joining: JoinSettings
    tables: tuple[FindShard, ...]
    blocks: units.TableBlocks
    cells: bool = False
    store: EmbeddingStore | None = None
    measuring: MeasureSettings | None = None
    visited: int | None = None

    @property
    def cell_settings(self) -> CellSettings:
        """What decides the cells."""
        return CellSettings(
            self.joining.output,
            self.reading.key,
            self.blocks,
            self.distance,
            self.visited,
            self.reading.run,
        )

    @property
    def proposes(self) -> bool:
        """Whether the distance only proposes pairs, because a learned head compares them."""
        return self.measuring is not None and self.measuring.proposes
