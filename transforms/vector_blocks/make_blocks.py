"""Rows of tables → blocks of distinct sentences with their vectors, each sentence encoded once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.utils.shared import Shared

from transforms.accounts.claims import Claim
from transforms.accounts.shard_account import (
    ShardAccount,
    find_account,
    rejects_name,
    write_account,
)
from transforms.accounts.shard_writer import ShardWriter
from transforms.errors import UserError
from transforms.hashing import split_by_hash, text_hash
from transforms.input.read_shards import ShardReader
from transforms.input.search_names import ID, SENTENCE, Side
from transforms.input.sentence_rows import SentenceColumns, read_rows
from transforms.input.shards import Shard
from transforms.pairs import reject_reasons, rejected_schema
from transforms.scoring.embedding_store import EmbeddingStore
from transforms.scoring.encode_once import encode_stored
from transforms.vector_blocks.vector_block import (
    BLOCK,
    BlockAccount,
    block_name,
    write_block_account,
)
from transforms.vector_blocks.write_block import distinct, gather_rows, write_block
from transforms.vectors.reach import Comparer

ID_BUCKETS = 64  # ids are compared bucket by bucket, so a worker holds a 64th of them


@dataclass(frozen=True)
class TableSettings:
    """How the tables are read and divided into blocks.

    Attributes:
        output: the output folder.
        run_key: see `transforms.accounts.shard_account.run_key`.
        inputs: fingerprint of all that is read.
        columns: of the tables.
        schemas: of their rows, by side (see `transforms.input.sentence_rows.row_schema`).
        counts: how many blocks each side has.
        missing: the blocks that are still to be made.
        todo: names of the shards that have no account yet.
        one_space: whether an id may be in only one of the tables.
        max_chars: characters of the longest sentence that is used.
        kind: of the blocks that are made.
        compression: codec of rejects.
        run: that has claimed the output folder; None where no other writer is kept out.
    """

    output: str
    run_key: str
    inputs: str
    columns: SentenceColumns
    schemas: Mapping[Side, pa.Schema]
    counts: Mapping[Side, int]
    missing: frozenset[tuple[Side, int]]
    todo: frozenset[str]
    one_space: bool
    max_chars: int
    kind: str = BLOCK
    compression: str = "zstd"
    run: str | None = None

    @property
    def claim(self) -> Claim:
        """What the run writes by."""
        return Claim(self.output, self.run)

    @property
    def checks_ids(self) -> bool:
        """Whether an id could be there twice; files and row numbers of one table cannot."""
        return self.columns.id is not None or (self.one_space and len(self.counts) > 1)

    @property
    def key(self) -> str:
        """What a block has to be made for."""
        return f"{self.run_key}-{self.inputs}"


@dataclass(frozen=True)
class FindShard:
    """A shard of a table.

    Attributes:
        side: whose.
        shard: what to read; its name distinguishes the sides.
        file: the file's name in ids.
        first_row: the number of the shard's first row in the file.
    """

    side: Side
    shard: Shard
    file: str
    first_row: int

    def to_json(self) -> dict[str, Any]:
        """As plain values, for a list of very many."""
        return {**vars(self), "shard": self.shard.to_json()}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> FindShard:
        """From those of `to_json`."""
        return cls(**content | {"shard": Shard.from_json(content["shard"])})


def table_shards(side: Side, shards: Iterable[Shard], *, alone: bool) -> list[FindShard]:
    """Shards in the order of a plan, as those of one side; `alone`: it is the only one."""
    found, source, row = [], None, 0
    for shard in shards:
        row = 0 if shard.source != source else row
        # STEM-00000-of-00003.parquet → STEM.parquet: a row without an id is named by its file and
        # its number in the file, so its id does not change with --shard_rows.
        file = shard.name.rsplit("-", 3)[0] + ".parquet"
        named = shard if alone else replace(shard, name=f"{side}-{shard.name}")
        found.append(FindShard(side, named, file, row))
        source, row = shard.source, row + shard.rows
    return found


def read_table_shard(
    table: FindShard, settings: TableSettings
) -> tuple[list[tuple[int, pa.RecordBatch]], ShardAccount]:
    """Reads a shard: its rows by number of their block, and its account, left in the folder."""
    started, parts, used = time.time(), [], 0
    reasons: Counter[str] = Counter()
    shard, schema = table.shard, settings.schemas[table.side]
    with (
        ShardReader(shard) as reader,
        ShardWriter(
            settings.claim, rejects_name(shard.name), rejected_schema(reader.schema),
            shard.source, settings.compression,
        ) as rejects,
    ):  # fmt: skip
        for read in read_rows(
            reader, settings.columns, schema,
            file=table.file, first_row=table.first_row, max_chars=settings.max_chars,
        ):  # fmt: skip
            used += read.good.num_rows
            rejects.write(read.rejected)
            reasons.update(reject_reasons(read.rejected))
            hashes = text_hash(read.good.column(SENTENCE))
            for number, places in split_by_hash(hashes, settings.counts[table.side]):
                parts.append((number, read.good.take(pa.array(places))))
        written = (rejects.finish(),) if rejects.rows else ()
        account = ShardAccount(
            shard=shard.to_json(),
            run_key=settings.run_key,
            rows_in=used + rejects.rows,
            rows_scored=used,
            rows_rejected=rejects.rows,
            rejected_by_reason=dict(reasons),
            files=written,
            started=started,
            finished=time.time(),
        )
    # A shard is read again when blocks are missing, or when the runner repeats it. Its rejects have
    # the same bytes each time; the first account counts, and is not replaced.
    if find_account(settings.output, shard, settings.run_key) is None:
        write_account(settings.claim, account)
    return parts, account


def make_block(
    side: Side,
    number: int,
    batches: Iterable[pa.RecordBatch],
    encoder: Comparer,
    store: EmbeddingStore | None,
    settings: TableSettings,
) -> BlockAccount:
    """Encodes the sentences of a block and writes it; doing it twice is harmless."""
    # Beam hands the batches over in any order: sorted, the block's bytes depend on its rows alone.
    table = gather_rows(list(batches), settings.schemas[side])
    sentences, _ = distinct(table)
    vectors, fresh = encode_stored(sentences.to_pylist(), encoder, store)
    write_block(settings.claim, block_name(side, number, settings.kind), table, vectors)
    account = BlockAccount(
        side, number, settings.key, len(sentences), table.num_rows, fresh, settings.kind
    )
    return write_block_account(settings.claim, account)


def check_ids(arrays: Iterable[pa.Array]) -> None:
    """Checks that no id occurs twice.

    Raises:
        UserError: one does.
    """
    ids = pa.concat_arrays(list(arrays))
    twice = len(ids) - pc.count_distinct(ids).as_py()
    if twice:
        raise UserError(
            f"{twice:,} rows have an id that another row has too; ids must be unique: name "
            "another column with --id_column, or --id_column '' to take file and row number"
        )


class MakeBlocks(beam.PTransform):
    """Shards of tables → accounts of the blocks, and accounts of the shards.

    Args:
        load: opens what encodes, once in each worker process; picklable.
        settings: what decides the blocks.
        shared: holds the one copy of the model in a process.
        store: vectors of earlier runs, or None.
    """

    def __init__(
        self,
        load: Callable[[], Comparer],
        settings: TableSettings,
        *,
        shared: Shared,
        store: EmbeddingStore | None = None,
    ):
        super().__init__()
        self._settings = settings
        self._make = _MakeBlock(load, settings, shared, store)

    def expand(self, shards: beam.PCollection) -> dict[str, beam.PCollection]:
        read = shards | "Read rows" >> beam.ParDo(_ReadShard(self._settings)).with_outputs(
            "accounts", "ids", main="rows"
        )
        checked = (
            read.ids
            | "Gather ids" >> beam.GroupByKey()
            | "Check ids" >> beam.MapTuple(lambda _, arrays: check_ids(arrays))
        )
        # None for each planned block: one that no row falls into has to be written as well.
        missing = [(block, None) for block in sorted(self._settings.missing)]
        blocks = (
            (read.rows, shards.pipeline | "List blocks" >> beam.Create(missing))
            | "Rows of all blocks" >> beam.Flatten()
            | "Gather blocks" >> beam.GroupByKey()
            # `checked` is only waited for: nothing is encoded before the ids are known to be
            # unique.
            | "Make block" >> beam.ParDo(self._make, beam.pvalue.AsList(checked))
        )
        return {"blocks": blocks, "accounts": read.accounts}


class _ReadShard(beam.DoFn):
    def __init__(self, settings: TableSettings):
        self._settings = settings

    def process(self, table: FindShard) -> Iterator[Any]:
        parts, account = read_table_shard(table, self._settings)
        if table.shard.name in self._settings.todo:
            yield beam.pvalue.TaggedOutput("accounts", account)
        for number, batch in parts:
            if (table.side, number) in self._settings.missing:
                yield (table.side, number), batch
            if self._settings.checks_ids:
                yield from self._ids(table.side, batch.column(ID))

    def _ids(self, side: Side, ids: pa.Array) -> Iterator[Any]:
        space = "" if self._settings.one_space else side
        for bucket, places in split_by_hash(text_hash(ids.cast(pa.string())), ID_BUCKETS):
            part = (space, bucket), ids.take(pa.array(places))
            yield beam.pvalue.TaggedOutput("ids", part)


class _MakeBlock(beam.DoFn):
    def __init__(
        self,
        load: Callable[[], Comparer],
        settings: TableSettings,
        shared: Shared,
        store: EmbeddingStore | None,
    ):
        self._load = load
        self._settings = settings
        self._shared = shared
        self._store = store

    def setup(self) -> None:
        self._encoder = self._shared.acquire(self._load, tag="model")

    def process(
        self, gathered: tuple[tuple[Side, int], Iterable[Any]], _checked: Any
    ) -> Iterator[BlockAccount]:
        (side, number), batches = gathered
        present = (batch for batch in batches if batch is not None)
        yield make_block(side, number, present, self._encoder, self._store, self._settings)
