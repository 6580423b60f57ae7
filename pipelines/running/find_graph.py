"""The graph of a search for pairs, and all that it is made from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.utils.shared import Shared

from pipelines.running.commit_pairs import CommitPairs
from pipelines.running.run_graph import running
from transforms.accounts import blocks, output_folder
from transforms.accounts.list_shards import ListShards, listing
from transforms.finding import units
from transforms.finding.find_pairs import FindPairs, Made, unit_of
from transforms.finding.join import JoinSettings
from transforms.finding.make_blocks import FindShard, MakeBlocks, TableSettings
from transforms.finding.make_cells import CellSettings, MakeCells
from transforms.finding.measure import MeasureRecall, MeasureSettings
from transforms.finding.vector_block import RAW, read_block_accounts
from transforms.scoring.embedding_store import EmbeddingStore
from transforms.vectors.near import Distance
from transforms.vectors.reach import Comparer


@dataclass(frozen=True)
class FindSearch:
    """All that a search is made from.

    Attributes:
        load: opens the bundle in a worker.
        distance: what its similarity is a function of.
        reading: how tables are read; `missing` are all blocks.
        joining: how pairs are found.
        tables: shards of both tables.
        blocks: how many blocks each side has.
        cells: whether a block is a cell; else it is a share by hash.
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


def run_pipeline(
    search: FindSearch, work: output_folder.Work, commit: CommitPairs, beam_options: PipelineOptions
) -> None:
    """The graph: rows → blocks of vectors → units of blocks → pairs and accounts → the commit."""
    shared, output, scratch = Shared(), search.joining.output, work.claim.scratch
    todo = [shard for shard in work.todo if shard.source == units.SOURCE]
    with running(beam_options) as pipeline:
        accounts, every, made, chosen = _make(pipeline, search, shared)
        done = pipeline | "List done" >> ListShards(listing(scratch, "done", work.done))
        joined = (
            pipeline
            | "List units" >> ListShards(listing(scratch, "new", todo))
            | "As unit" >> beam.Map(unit_of)
            | "Find pairs"
            >> FindPairs(search.load, search.distance, search.joining, shared=shared, made=made)
        )
        parts = (
            (
                joined | "New pairs" >> beam.Map(lambda account: (True, account)),
                accounts | "New tables" >> beam.Map(lambda account: (True, account)),
                done | "Read accounts" >> beam.Map(blocks.read_done, output),
            )
            | "All accounts" >> beam.Flatten()
            | "Add up accounts"
            >> blocks.AddUpAccounts(blocks.AccountBlocks.plan(work.claim, commit.names))
        )
        (
            pipeline
            | "Once" >> beam.Create([None])
            | "Commit"
            >> beam.Map(
                commit,
                parts=beam.pvalue.AsIter(parts),
                made=beam.pvalue.AsIter(every),
                chosen=beam.pvalue.AsIter(chosen),
            )
        )


def _make(
    pipeline: beam.Pipeline, search: FindSearch, shared: Shared
) -> tuple[beam.PCollection, beam.PCollection, Made, beam.PCollection]:
    """Accounts of the tables and of all blocks, what pairs are found in, and the recall."""
    ready = read_block_accounts(search.joining.output, search.reading.key)
    missing = search.reading.missing - {(block.side, block.number) for block in ready}
    nothing = pipeline | "No measure" >> beam.Create([])
    if not search.cells:
        accounts, every = _read(pipeline, search, shared, search.reading)
        return accounts, every, Made(every), nothing
    reading = replace(search.reading, kind=RAW)
    if not missing:
        reading = replace(reading, missing=frozenset())
    accounts, raw = _read(pipeline, search, shared, reading)
    settings = CellSettings(
        search.joining.output, search.reading.key, search.blocks, search.distance
    )
    cells = raw | "Make cells" >> MakeCells(settings, missing)
    before = pipeline | "List cells made before" >> beam.Create(ready)
    every = (cells["blocks"], before) | "All cells" >> beam.Flatten()
    both = (raw, every) | "All accounts of blocks" >> beam.Flatten()
    if search.measuring is None:
        return accounts, both, Made(every, cells["cells"]), nothing
    chosen = every | "Measure recall" >> MeasureRecall(
        search.load, search.distance, search.measuring, shared=shared, cells=cells["cells"]
    )
    visits = chosen | "Visits" >> beam.Map(lambda found: found.visits)
    return accounts, both, Made(every, cells["cells"], visits), chosen


def _read(
    pipeline: beam.Pipeline, search: FindSearch, shared: Shared, reading: TableSettings
) -> tuple[beam.PCollection, beam.PCollection]:
    """Accounts of the tables that are read, and of all blocks that are made of them."""
    ready = read_block_accounts(reading.output, reading.key, reading.kind)
    missing = reading.missing - {(block.side, block.number) for block in ready}
    unread = any(table.shard.name in reading.todo for table in search.tables)
    tables = search.tables if missing or unread else ()
    made = (
        pipeline
        | "List tables" >> ListShards(listing(reading.claim.scratch, "tables", tables))
        | "Make blocks"
        >> MakeBlocks(
            search.load, replace(reading, missing=missing), shared=shared, store=search.store
        )
    )
    before = pipeline | "List blocks made before" >> beam.Create(ready)
    return made["accounts"], (made["blocks"], before) | "All blocks" >> beam.Flatten()
