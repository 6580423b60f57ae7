"""Plans the work: input files and their row groups → shards, and reads a shard in bounded batches.

A shard is a run of row groups of one file: the unit of work, of output, of retry and of resuming.
The plan depends on the input files alone, never on the machine, so a second run makes the same one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.errors import RunError, UserError
from transforms.input.footers import Footer, checked_footer, fingerprint
from transforms.input.input_files import find
from transforms.pairs import TextColumns
from transforms.storage import files

BATCH_ROWS = 65_536
BATCH_BYTES = 64 << 20
FOOTER_THREADS = 64  # object storage answers slowly, not busily
MAX_NAME_BYTES = 200  # file systems allow 255, and hidden names are longer


@dataclass(frozen=True)
class Shard:
    """A run of row groups of one input file.

    Attributes:
        source: path of the input file.
        fingerprint: of the file's size and footer, to notice when it changes.
        name: the file name of what is written for this shard.
        first_row_group: the first row group.
        end_row_group: one past the last row group.
        rows: rows in these row groups.
    """

    source: str
    fingerprint: str
    name: str
    first_row_group: int
    end_row_group: int
    rows: int

    def to_json(self) -> dict[str, Any]:
        """As plain values, for an account."""
        return asdict(self)


@dataclass(frozen=True)
class RejectedFile:
    """An input file that cannot be used, and why."""

    source: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """What there is to do: shards, the files they come from, and the files left out."""

    shards: tuple[Shard, ...]
    schemas: dict[str, pa.Schema]
    rejected: tuple[RejectedFile, ...]


def plan_shards(patterns: Sequence[str], columns: TextColumns, *, shard_rows: int) -> list[Shard]:
    """The shards of `plan`, where no file may be left out."""
    return list(plan(patterns, columns, shard_rows=shard_rows, on_bad_file=None).shards)


def plan(
    patterns: Sequence[str],
    columns: TextColumns,
    *,
    shard_rows: int,
    on_bad_file: Literal["fail", "reject"] | None = "fail",
) -> Plan:
    """Finds the input, checks every file's footer, and cuts the files into shards.

    Args:
        patterns: paths or globs, local or `gs://`.
        columns: the columns every file must have.
        shard_rows: how many rows a shard should have; a single larger row group stays whole.
        on_bad_file: whether a file that cannot be used stops the run or is left out; None where
            the command gives no choice, so that its error names none.

    Raises:
        UserError: names the file and what is wrong with it; nothing was done.
    """
    found = find(patterns)
    schemas: dict[bytes, pa.Schema] = {}

    def look(path: str) -> Footer | UserError:
        footer = _footer_or_error(path, columns)
        if isinstance(footer, UserError):
            return footer
        same = schemas.setdefault(footer.schema.serialize().to_pybytes(), footer.schema)
        return replace(footer, schema=same)  # one schema for all the files that have it

    with ThreadPoolExecutor(max_workers=FOOTER_THREADS) as pool:
        footers = list(pool.map(look, [file.path for file in found]))
    rejected = tuple(
        RejectedFile(file.path, str(footer))
        for file, footer in zip(found, footers, strict=True)
        if isinstance(footer, UserError)
    )
    if rejected and (on_bad_file != "reject" or len(rejected) == len(found)):
        raise UserError(_format_rejected(rejected, len(found), choice=on_bad_file is not None))
    usable = [
        (file, footer)
        for file, footer in zip(found, footers, strict=True)
        if isinstance(footer, Footer)
    ]
    shards = tuple(
        s for file, footer in usable for s in cut(file.path, file.name, footer, shard_rows)
    )
    _check_names(shards)
    return Plan(shards, {file.path: footer.schema for file, footer in usable}, rejected)


def _footer_or_error(path: str, columns: TextColumns) -> Footer | UserError:
    try:
        return checked_footer(path, columns)
    except UserError as error:
        return error


def _format_rejected(rejected: Sequence[RejectedFile], found: int, *, choice: bool) -> str:
    if len(rejected) == 1 and found == 1:
        return rejected[0].reason
    more = f" ({len(rejected)} of {found} files cannot be used)" if len(rejected) > 1 else ""
    some = choice and len(rejected) < found
    mend = "; leave such files out with --on_bad_file=reject" if some else ""
    return f"{rejected[0].reason}{more}{mend}"


def cut(source: str, name: str, footer: Footer, shard_rows: int) -> list[Shard]:
    """Cuts one file into shards of whole row groups, each of about `shard_rows` rows."""
    bounds, taken = [0], 0
    for group, rows in enumerate(footer.rows):
        if taken and taken + rows > shard_rows:
            bounds.append(group)
            taken = 0
        taken += rows
    bounds.append(len(footer.rows))
    stem, count = name.removesuffix(".parquet"), len(bounds) - 1
    return [
        Shard(
            source=source,
            fingerprint=footer.fingerprint,
            name=f"{stem}-{place:05d}-of-{count:05d}.parquet",
            first_row_group=first,
            end_row_group=end,
            rows=sum(footer.rows[first:end]),
        )
        for place, (first, end) in enumerate(pairwise(bounds))
    ]


def _check_names(shards: Sequence[Shard]) -> None:
    sources: dict[str, str] = {}
    for shard in shards:
        if len(shard.name.encode()) > MAX_NAME_BYTES:
            raise UserError(
                f"{shard.source} would be written as a name of more than {MAX_NAME_BYTES} bytes; "
                "give it a shorter name, or name a deeper folder with the pattern"
            )
        other = sources.setdefault(shard.name, shard.source)
        if other != shard.source:
            raise UserError(
                f"{other} and {shard.source} would both be written as {shard.name}; "
                "give them different names, or name their common folder with one pattern"
            )


def read_shard(
    shard: Shard, *, columns: Sequence[str] | None = None, batch_bytes: int = BATCH_BYTES
) -> Iterator[pa.RecordBatch]:
    """The rows of a shard, in order, in batches bounded in rows and bytes.

    Args:
        shard: what to read.
        columns: names of the columns to read; all without it.
        batch_bytes: about how large a batch may be.

    Raises:
        RunError: the file is not the one that was planned with.
    """
    with _reading(shard) as parquet:
        groups = list(range(shard.first_row_group, shard.end_row_group))
        rows = _batch_rows(parquet.metadata, groups, batch_bytes)
        schema = parquet.schema_arrow
        if columns is not None:
            schema = pa.schema([schema.field(name) for name in columns])
        for batch in parquet.iter_batches(
            batch_size=rows, row_groups=groups, columns=columns, use_threads=False
        ):
            batch = batch.select(schema.names)
            yield pa.RecordBatch.from_arrays(batch.columns, schema=schema)


def shard_schema(shard: Shard) -> pa.Schema:
    """The Arrow schema of the shard's file."""
    with _reading(shard) as parquet:
        return parquet.schema_arrow


@contextmanager
def _reading(shard: Shard) -> Iterator[pq.ParquetFile]:
    """The shard's file, if it still is the one that was planned with."""
    changed = f"{shard.source} changed after the run had looked at it; run again"
    try:
        with files.open_input(shard.source) as file:
            if fingerprint(shard.source, file) != shard.fingerprint:
                raise RunError(changed)
            yield pq.ParquetFile(file, page_checksum_verification=True)
    except FileNotFoundError:
        raise RunError(f"{shard.source} vanished after the run had looked at it") from None
    except UserError:  # it has no footer any more
        raise RunError(changed) from None
    except (OSError, pa.ArrowException) as error:
        raise RunError(
            f"{shard.source}: row groups {shard.first_row_group} to {shard.end_row_group - 1} "
            f"cannot be read ({files.reason(error)}); the file is damaged: mend it or leave it out"
        ) from None


def _batch_rows(metadata: pq.FileMetaData, groups: Sequence[int], batch_bytes: int) -> int:
    rows = sum(metadata.row_group(group).num_rows for group in groups)
    size = sum(metadata.row_group(group).total_byte_size for group in groups)
    if not rows or not size:
        return BATCH_ROWS
    return max(1, min(BATCH_ROWS, batch_bytes * rows // size))
