"""Reads what a Parquet file says of itself, and refuses a file that cannot be used."""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.errors import RunError, UserError
from transforms.input.parquet_columns import Int96Unit, open_parquet, rewritten_columns
from transforms.storage import files

MAGIC = b"PAR1"
ENCRYPTED_MAGIC = b"PARE"
TEXT_ENDINGS = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson")
SIGNATURE_BYTES = 28  # behind the footer of a file with encrypted columns


@dataclass(frozen=True)
class Footer:
    """What a Parquet file says of itself.

    Attributes:
        fingerprint: see `fingerprint`.
        schema: its columns, as Arrow reads them.
        rows: of each row group.
        rewritten: see `parquet_columns.rewritten_columns`.
    """

    fingerprint: str
    schema: pa.Schema
    rows: tuple[int, ...]
    rewritten: tuple[str, ...] = ()


def read_footer(path: str, int96: Int96Unit = "us") -> Footer:
    """Reads the footer of a Parquet file and nothing else of it.

    Raises:
        UserError: the file cannot be read as Parquet; says why.
        RunError: the store does not answer.
    """
    try:
        file, version = files.open_version(path)
        with file:
            tail = read_tail(path, file)
            metadata = read_metadata(tail)
            # Not by the columns' metadata: to look at an encrypted one ends the process.
            if len(tail) - 8 - metadata.serialized_size == SIGNATURE_BYTES:
                raise UserError(f"{path} has encrypted columns; decrypt it first")
            parquet = open_parquet(file, int96=int96, metadata=metadata)
            return _footer(fingerprint(tail, file.size(), version), parquet)
    except UserError:
        _check_is_no_text(path)
        raise
    except PermissionError:
        raise UserError(f"{path} may not be read: permission denied") from None
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except (OSError, pa.ArrowException, ValueError) as error:
        if files.is_outage(error):  # the file may be a good one
            raise RunError(f"{path} cannot be read now: {files.reason(error)}; run again") from None
        _check_is_no_text(path)
        raise UserError(f"{path} cannot be read as Parquet: {files.reason(error)}") from None


def _check_is_no_text(path: str) -> None:
    """Refuses a text file, recognised by its name."""
    if path.lower().removesuffix(".gz").endswith(TEXT_ENDINGS):
        raise UserError(
            f"{path} is text, expected Parquet; convert it first: "
            f"twinbeam convert --input {shlex.quote(path)} --output pairs.parquet"
        ) from None


def _footer(mark: str, parquet: pq.ParquetFile) -> Footer:
    metadata, schema = parquet.metadata, parquet.schema_arrow
    groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
    if any(group.num_rows < 0 for group in groups):
        raise ValueError("a row group with fewer than 0 rows")
    _ = schema.names  # raises where a name is not UTF-8
    rows = tuple(group.num_rows for group in groups)
    return Footer(mark, schema, rows, tuple(rewritten_columns(parquet)))


def read_tail(path: str, file: pa.NativeFile) -> bytes:
    """The end of an open file, from its footer on.

    Raises:
        UserError: it does not end like a Parquet file.
    """
    size = file.size()
    tail = file.read_at(min(8, size), max(size - 8, 0))
    if tail[-4:] == ENCRYPTED_MAGIC:
        raise UserError(f"{path} has an encrypted footer; decrypt it first")
    length = int.from_bytes(tail[:4], "little")
    if tail[-4:] != MAGIC or length + 12 > size:
        raise UserError(
            f"{path} is not a complete Parquet file ({size} bytes, no footer at its end); "
            "it is another kind of file, or was truncated"
        )
    return file.read_at(length, size - 8 - length) + tail


def read_metadata(tail: bytes) -> pq.FileMetaData:
    """The metadata in a file's tail, which need not be fetched for it a second time."""
    return pq.read_metadata(pa.BufferReader(tail))


def fingerprint(tail: bytes, size: int, version: str) -> str:
    """A hash of a file's version, size and footer, to notice when it changes.

    A corrected label or a sentence of equal length changes neither size nor footer; the version,
    which `files.open_version` gives, is what the store knows of the content.
    """
    return hashlib.sha256(f"{size} {version} ".encode() + tail[:-8]).hexdigest()[:32]
