"""Plans the work: input files and their row groups → shards.

A shard is a run of row groups of one file: the unit of work, of output, of retry and of resuming.
The plan depends on the input files alone, never on the machine, so a second run makes the same one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Literal

import pyarrow as pa

from transforms.errors import UserError
from transforms.input.footers import Footer, read_footer
from transforms.input.input_files import FoundFile, find
from transforms.input.parquet_columns import Int96Unit
from transforms.input.partitions import Partition, names_apart, output_name, partitions_of
from transforms.output_schema import extended_schema
from transforms.pairs import TextColumns, check_schema
from transforms.storage import files
from transforms.threads import LOCAL_THREADS, in_threads

FOOTER_THREADS = 64  # object storage answers slowly, not busily
MAX_NAME_BYTES = 200  # file systems allow 255, and hidden names are longer


@dataclass(frozen=True)
class Shard:
    """A run of row groups of one input file.

    Attributes:
        source: path of the input file.
        fingerprint: of the file's version, size and footer, to notice when it changes.
        name: the file name of what is written for this shard.
        first_row_group: the first row group.
        end_row_group: one past the last row group.
        rows: rows in these row groups.
        int96: the unit in which INT96 times are read.
        partitions: the columns in the names of its folders.
    """

    source: str
    fingerprint: str
    name: str
    first_row_group: int
    end_row_group: int
    rows: int
    int96: Int96Unit = "us"
    partitions: tuple[Partition, ...] = ()

    def __post_init__(self) -> None:
        """Takes partitions as JSON has them, too."""
        partitions = tuple(Partition(*partition) for partition in self.partitions)
        object.__setattr__(self, "partitions", partitions)

    def to_json(self) -> dict[str, Any]:
        """As plain values, for an account."""
        return asdict(self) | {"partitions": [list(partition) for partition in self.partitions]}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Shard:
        """From those of `to_json`."""
        return cls(**content)


Looked = tuple[Footer, tuple[Partition, ...]]


@dataclass(frozen=True)
class RejectedFile:
    """An input file that cannot be used, and why."""

    source: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """What there is to do.

    Attributes:
        shards: the pieces of work.
        schemas: the columns of each file, by its path.
        rejected: the files left out.
        rewritten: the columns that cannot be written as the kind they are; see
            `parquet_columns.rewritten_columns`.
    """

    shards: tuple[Shard, ...]
    schemas: dict[str, pa.Schema]
    rejected: tuple[RejectedFile, ...]
    rewritten: tuple[str, ...] = ()


def plan_shards(patterns: Sequence[str], columns: TextColumns, *, shard_rows: int) -> list[Shard]:
    """The shards of `plan`, where no file may be left out."""
    planned = plan(
        patterns, columns, shard_rows=shard_rows, on_bad_file=None, named_after_input=False
    )
    return list(planned.shards)


def plan(
    patterns: Sequence[str | FoundFile],
    columns: TextColumns,
    *,
    shard_rows: int,
    on_bad_file: Literal["fail", "reject"] | None = "fail",
    int96: Int96Unit = "us",
    partition_columns: Mapping[str, str] = MappingProxyType({}),
    named_after_input: bool = True,
) -> Plan:
    """Finds the input, checks every file's footer, and cuts the files into shards.

    Args:
        patterns: paths or globs, local or `gs://`, and files that are known to be there.
        columns: the columns every file must have.
        shard_rows: how many rows a shard should have; a single larger row group is not split.
        on_bad_file: whether a file that cannot be used stops the run or is left out; None where
            the command gives no choice, so that its error names none.
        int96: the unit in which INT96 times are read.
        partition_columns: columns in folders' names that are to be written into the files, each
            with its type (see `partitions`); those that the run reads always are.
        named_after_input: what is written keeps the files' names, so two of one name are refused;
            else they are distinguished: the scores of each night have the same names.

    Raises:
        UserError: names the file and what is wrong with it; nothing was done.
    """
    found = find(patterns)
    footers = _look_at_all([file.path for file in found], columns, int96, partition_columns)
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
        if not isinstance(footer, UserError)
    ]
    names = [output_name(file.path, file.below, partitions) for file, (_, partitions) in usable]
    if not named_after_input:
        names = names_apart(names, [file.path for file, _ in usable])
    shards = tuple(
        replace(shard, int96=int96, partitions=partitions)
        for name, (file, (footer, partitions)) in zip(names, usable, strict=True)
        for shard in cut_file(file.path, name, footer, shard_rows)
    )
    _check_names(shards)
    _check_partitions(partition_columns, [looked for _, looked in usable])
    rewritten = dict.fromkeys(column for _, (footer, _) in usable for column in footer.rewritten)
    schema_of = {file.path: footer.schema for file, (footer, _) in usable}
    return Plan(shards, schema_of, rejected, tuple(rewritten))


def _look_at_all(
    paths: Sequence[str], columns: TextColumns, int96: Int96Unit, written: Mapping[str, str]
) -> list[Looked | UserError]:
    """What each file says of itself, or why it cannot be used."""
    schemas: dict[bytes, pa.Schema] = {}

    def look(path: str) -> Looked | UserError:
        try:
            footer, partitions = _look(path, columns, int96, written)
        except UserError as error:
            return error
        same = schemas.setdefault(footer.schema.serialize().to_pybytes(), footer.schema)
        return replace(footer, schema=same), partitions  # one schema for all files that have it

    far = any(not files.is_local(path) for path in paths)
    return list(in_threads(look, paths, FOOTER_THREADS if far else LOCAL_THREADS))


def _look(path: str, columns: TextColumns, int96: Int96Unit, written: Mapping[str, str]) -> Looked:
    """A file's footer, with the columns in its path, after a check that they can be used."""
    footer = read_footer(path, int96)
    names = footer.schema.names
    partitions = tuple(partitions_of(path, names, written, columns.maybe_in_folders))
    schema = extended_schema(footer.schema, [partition.field for partition in partitions])
    check_schema(schema, columns, path)
    return replace(footer, schema=schema), partitions


def _format_rejected(rejected: Sequence[RejectedFile], found: int, *, choice: bool) -> str:
    if len(rejected) == 1 and found == 1:
        return rejected[0].reason
    more = f" ({len(rejected)} of {found} files cannot be used)" if len(rejected) > 1 else ""
    some = choice and len(rejected) < found
    fix = "; leave such files out with --on_bad_file=reject" if some else ""
    return f"{rejected[0].reason}{more}{fix}"


def cut_file(source: str, name: str, footer: Footer, shard_rows: int) -> list[Shard]:
    """Cuts one file into shards of complete row groups, each of about `shard_rows` rows."""
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


def _check_partitions(written: Mapping[str, str], looked: Sequence[Looked]) -> None:
    found = {partition.name for _, partitions in looked for partition in partitions}
    columns = {name for footer, _ in looked for name in footer.schema.names}
    for name in written:
        if name not in found | columns:
            some = f"there are {', '.join(sorted(found))}" if found else "no folder has any"
            raise UserError(f"--partition_columns {name}: no folder is named {name}=VALUE; {some}")


def _check_names(shards: Sequence[Shard]) -> None:
    sources: dict[str, str] = {}
    for shard in shards:
        if any(len(part.encode()) > MAX_NAME_BYTES for part in shard.name.split("/")):
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
