"""What a file really is, by its first bytes, whatever its name says; and how it is unpacked."""

from __future__ import annotations

import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from transforms.errors import RunError, UserError
from transforms.storage import files

HEAD_BYTES = 1 << 20
# Packed files that are read as what is in them.
_PACKED = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bz2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
)
PACKED_ENDINGS = (".gz", ".bz2", ".xz", ".zst", ".zstd")
_UNPACK = "unpack it and give what is in it"
_PARQUET = "it needs no conversion"
# What a file is taken for, and what to do with it.
_OTHERS = (
    (b"PAR1", f"a Parquet file; {_PARQUET}"),
    (b"ARROW1", "an Arrow IPC (Feather) file; write it as Parquet with pyarrow or pandas"),
    (b"Obj\x01", "an Avro file; write it as Parquet with Spark or DuckDB"),
    (b"ORC", "an ORC file; write it as Parquet with Spark or pyarrow"),
    (b"\xd0\xcf\x11\xe0", "an old Excel (.xls) file; save it as 'CSV UTF-8' in Excel"),
    (b"7z\xbc\xaf\x27\x1c", f"a 7z archive; {_UNPACK}"),
    (b"Rar!", f"a RAR archive; {_UNPACK}"),
    (b"\x04\x22\x4d\x18", f"an LZ4 file; {_UNPACK}"),
    (b"\x1f\x9d", f"a compress (.Z) file; {_UNPACK}"),
    (b"SQLite format 3", "an SQLite database; export the table as CSV"),
    (b"%PDF", "a PDF; give a text file of pairs"),
    (b"\x80\x04", "a Python pickle, which is never opened here; write CSV or Parquet instead"),
    (b"\x80\x05", "a Python pickle, which is never opened here; write CSV or Parquet instead"),
    (b"\x89HDF", "an HDF5 file; write the table as CSV or Parquet"),
)  # fmt: skip
_ZIPS = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")


def refuse_other_kinds(path: str, head: bytes) -> None:
    """Stops where a file's first bytes show that it holds no lines of text.

    Raises:
        UserError: it is some other kind of file: which, and what to do.
    """
    for signature, kind in _OTHERS:
        if head.startswith(signature):
            raise UserError(f"{path} is {kind}")
    if head.startswith(_ZIPS):
        raise UserError(f"{path} is {_zip_kind(head)}")
    if head[257:262] == b"ustar":
        raise UserError(f"{path} is a tar archive; {_UNPACK}")
    if (
        head[:200]
        .lstrip(b"\xef\xbb\xbf \t\r\n")
        .lower()
        .startswith((b"<!doctype", b"<html", b"<?xml"))
    ):
        raise UserError(
            f"{path} is an HTML or XML page, not a table; was an error page downloaded? "
            "Give CSV, TSV or JSON Lines"
        )


def _zip_kind(head: bytes) -> str:
    if b"xl/" in head or b"[Content_Types].xml" in head:
        return "an Excel workbook; save it as 'CSV UTF-8' in Excel, or write it as CSV with pandas"
    if b"opendocument" in head:
        return "an OpenDocument spreadsheet; save it as CSV"
    return f"a zip archive; {_UNPACK}"


def packing_of(head: bytes) -> str | None:
    """How the bytes are packed: `gzip`, `bz2`, `xz`, `zstd`, or None."""
    return next((name for signature, name in _PACKED if head.startswith(signature)), None)


@contextmanager
def open_unpacked(path: str) -> Iterator[Callable[[int], bytes]]:
    """A file's bytes, unpacked according to their content, not the file's name.

    Yields:
        A function that reads up to a number of bytes; none at the end.

    Raises:
        UserError: the packed file is cut or damaged.
    """
    with files.open_input(path) as raw:
        packing = packing_of(raw.read(8))
        raw.seek(0)
        stream = _unpacked(raw, packing)

        def read(size: int) -> bytes:
            try:
                return stream.read(size)
            except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, pa.ArrowException):
                pass
            except OSError as error:
                # An error of the disk or the bucket, not of the file's content.
                if error.errno is not None or packing is None:
                    raise RunError(f"{path} cannot be read: {files.reason(error)}") from None
            raise UserError(f"{path} is a {packing} file that is cut or damaged; fetch it again")

        yield read


def _unpacked(raw: Any, packing: str | None) -> Any:
    if packing == "xz":  # Arrow has no codec for it
        return lzma.LZMAFile(raw)
    return pa.CompressedInputStream(raw, packing) if packing else raw
