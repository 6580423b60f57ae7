"""The graph of a search for pairs, and all that it is made from."""

from __future__ import annotations

from dataclasses import replace

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.utils.shared import Shared

from pipelines.finding.commit_pairs import CommitPairs
from pipelines.finding.plan_search import FindSearch
from pipelines.running.run_graph import commit_once, running
from transforms.accounts import blocks, output_folder
from transforms.accounts.list_shards import ListShards, listing
from transforms.finding.block_worker import BlockWorker, Made
from transforms.finding.find_pairs import FindBest, FindPairs, unit_of
from transforms.finding.measure import MeasureRecall
from transforms.vector_blocks import units
from transforms.vector_blocks.make_blocks import MakeBlocks, TableSettings
from transforms.vector_blocks.make_cells import MakeCells
from transforms.vector_blocks.vector_block import RAW, read_block_accounts
from transforms.vector_blocks.visitors import SendVisitors


def run_search(
    search: FindSearch, work: output_folder.Work, commit: CommitPairs, beam_options: PipelineOptions
) -> None:
    """The graph: rows → blocks of vectors → units of blocks → pairs and accounts → the commit."""
    shared, output, scratch = Shared(), search.joining.output, work.claim.scratch
    todo = [shard for shard in work.todo if shard.source == units.SOURCE]
    with running(beam_options) as pipeline:
        accounts, every, made, chosen = _make(pipeline, search, shared)
        worker = BlockWorker(
            search.load, search.distance, search.joining, shared,
            proposes=search.proposes, cells=search.cell_settings if search.cells else None,
        )  # fmt: skip
        made = _with_best(pipeline, search, worker, made)
        done = pipeline | "List done" >> ListShards(listing(scratch, "done", work.done))
        joined = (
            pipeline
            | "List units" >> ListShards(listing(scratch, "new", todo))
            | "As unit" >> beam.Map(unit_of)
            | "Find pairs" >> FindPairs(worker, made)
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
        commit_once(
            pipeline,
            commit,
            parts=beam.pvalue.AsIter(parts),
            made=beam.pvalue.AsIter(every),
            chosen=beam.pvalue.AsIter(chosen),
        )


def _with_best(
    pipeline: beam.Pipeline, search: FindSearch, worker: BlockWorker, made: Made
) -> Made:
    """The same and, where they are wanted, the lists of each sentence's most similar partners."""
    if search.joining.top_k is None:
        return made
    numbers = pipeline | "List blocks of left" >> beam.Create(list(range(search.blocks.left)))
    best = numbers | "Find the most similar" >> FindBest(worker, search.blocks, made)
    return replace(made, ready=best)


def _make(
    pipeline: beam.Pipeline, search: FindSearch, shared: Shared
) -> tuple[beam.PCollection, beam.PCollection, Made, beam.PCollection]:
    """Accounts of the tables and of all blocks, what pairs are found in, and the recall."""
    ready = read_block_accounts(search.joining.output, search.reading.key)
    missing = search.reading.missing - {(block.side, block.number) for block in ready}
    nothing = pipeline | "No measure" >> beam.Create([])
    if not search.cells:
        accounts, every = _read(pipeline, search, shared, search.reading)
        if search.measuring is None:
            return accounts, every, Made(every), nothing
        chosen = every | "Measure recall" >> MeasureRecall(
            search.load, search.distance, search.measuring, shared=shared, cells=None
        )
        return accounts, every, Made(every, chosen=chosen), chosen
    reading = replace(search.reading, kind=RAW)
    # All cells are made: the blocks by hash from which they were made are no longer needed.
    if not missing:
        reading = replace(reading, missing=frozenset())
    accounts, raw = _read(pipeline, search, shared, reading)
    settings = search.cell_settings
    cells = raw | "Make cells" >> MakeCells(settings, missing)
    before = pipeline | "List cells made before" >> beam.Create(ready)
    every = (cells["blocks"], before) | "All cells" >> beam.Flatten()
    both = (raw, every) | "All accounts of blocks" >> beam.Flatten()
    if search.measuring is None:
        return accounts, both, Made(every, cells["cells"]), nothing
    chosen = every | "Measure recall" >> MeasureRecall(
        search.load, search.distance, search.measuring, shared=shared, cells=cells["cells"]
    )
    made = Made(every, cells["cells"], chosen)
    if search.visited is not None:
        sent = chosen | "Send visitors" >> SendVisitors(settings, cells["cells"], every)
        made = replace(made, ready=sent)
    return accounts, both, made, chosen


def _read(
    pipeline: beam.Pipeline, search: FindSearch, shared: Shared, reading: TableSettings
) -> tuple[beam.PCollection, beam.PCollection]:
    """Accounts of the tables that are read, and of all blocks that are made of them."""
    ready = read_block_accounts(reading.output, reading.key, reading.kind)
    missing = reading.missing - {(block.side, block.number) for block in ready}
    unread = any(table.shard.name in reading.todo for table in search.tables)
    # A block holds rows of every shard, so if one is missing all shards are read again.
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
