"""Reads what a Parquet file says of itself, and refuses a file that cannot be used."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from transforms import files
from transforms.errors import UserError
from transforms.pairs import PairColumns, check_schema

MAGIC = b"PAR1"
ENCRYPTED_MAGIC = b"PARE"


@dataclass(frozen=True)
class Footer:
    """What a Parquet file says of itself."""

    fingerprint: str
    schema: pa.Schema
    rows: tuple[int, ...]


def checked_footer(path: str, columns: PairColumns) -> Footer:
    """A file's footer, once its columns are seen to be usable."""
    footer = read_footer(path)
    check_schema(footer.schema, columns, path)
    return footer


def read_footer(path: str) -> Footer:
    """Reads the footer of a Parquet file and nothing else of it.

    Raises:
        UserError: the file cannot be read as Parquet; says why.
    """
    try:
        with files.open_input(path) as file:
            return _footer(fingerprint(path, file), pq.ParquetFile(file))
    except UserError:
        raise
    except PermissionError:
        raise UserError(f"{path} may not be read: permission denied") from None
    except FileNotFoundError:
        raise UserError(f"{path} is not there") from None
    except (OSError, pa.ArrowException, ValueError) as error:
        raise UserError(f"{path} cannot be read as Parquet: {files.reason(error)}") from None


def _footer(mark: str, parquet: pq.ParquetFile) -> Footer:
    metadata, schema = parquet.metadata, parquet.schema_arrow
    groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
    for group in groups[:1]:  # raises where a column is encrypted
        for column in range(group.num_columns):
            group.column(column)
    if any(group.num_rows < 0 for group in groups):
        raise ValueError("a row group with fewer than 0 rows")
    _ = schema.names  # raises where a name is not UTF-8
    return Footer(mark, schema, tuple(group.num_rows for group in groups))


def fingerprint(path: str, file: pa.NativeFile) -> str:
    """A hash of an open file's size and footer, to notice when it changes.

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
            f"{path} is not a whole Parquet file ({size} bytes, no footer at its end); "
            "it is of another kind, or was cut"
        )
    footer = file.read_at(length, size - 8 - length)
    return hashlib.sha256(size.to_bytes(8, "little") + footer).hexdigest()[:32]
