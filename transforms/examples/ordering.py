"""Puts the records of a file in order, in memory that does not follow the file's size."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.hashing import text_hash

# Of records that are in memory at once; ordering takes about four times as much.
ORDERED_BYTES = 32 << 20
RANGES = 256  # of hashes, each in a file of its own once records are too many
_HASH_KEY = "twinbeam-order-1"  # 16 characters, as SipHash wants; another key is another order
_SCHEMA = pa.schema([("hash", pa.uint64()), ("record", pa.large_binary())])


def record_hash(records: pa.LargeBinaryArray) -> np.ndarray:
    """A stable 64-bit hash of each record: uint64 [n]."""
    return text_hash(records, _HASH_KEY)


def in_order(parts: Iterable[pa.LargeBinaryArray]) -> Iterator[pa.LargeBinaryArray]:
    """Records ordered by hash and, where hashes are equal, by bytes; piece by piece.

    Up to `ORDERED_BYTES` they stay in memory. More are sorted by ranges of their hashes into
    files on this machine's disk, and then range by range.
    """
    parts = iter(parts)
    some, more = _up_to(parts, ORDERED_BYTES)
    if not more:
        yield from _sorted(some)
        return
    with tempfile.TemporaryDirectory(prefix="twinbeam-order-") as folder:
        spilled = _spill(some, parts, Path(folder))
        del some
        for path in spilled:
            with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as reader:
                found = reader.read_all()
            path.unlink()
            yield from _sorted(found)


def _up_to(parts: Iterator[pa.LargeBinaryArray], size: int) -> tuple[pa.Table, bool]:
    """The first parts that come to so many bytes, and whether there may be more."""
    taken, total = [], 0
    for part in parts:
        taken.append(part)
        total += part.nbytes
        if total >= size:
            return _table(taken), True
    return _table(taken), False


def _table(parts: list[pa.LargeBinaryArray]) -> pa.Table:
    records = pa.chunked_array(parts, pa.large_binary()).combine_chunks()
    return pa.table([pa.array(record_hash(records)), records], schema=_SCHEMA)


def _sorted(table: pa.Table) -> Iterator[pa.LargeBinaryArray]:
    order = pc.sort_indices(table, [("hash", "ascending"), ("record", "ascending")])
    yield table.column("record").combine_chunks().take(order)


def _spill(first: pa.Table, parts: Iterator[pa.LargeBinaryArray], folder: Path) -> list[Path]:
    """Writes records to a file for each range of hashes; the files, the lowest first."""
    paths = [folder / f"{number:03d}" for number in range(RANGES)]
    with ExitStack() as stack:
        sinks = [stack.enter_context(pa.OSFile(str(path), "wb")) for path in paths]
        writers = [stack.enter_context(pa.ipc.new_stream(sink, _SCHEMA)) for sink in sinks]
        table, more = first, True
        while True:
            table = table.take(pc.sort_indices(table.column("hash")))
            ranges = table.column("hash").to_numpy() >> np.uint64(56)  # 8 bits: RANGES of them
            bounds = np.searchsorted(ranges, np.arange(RANGES + 1, dtype=np.uint64))
            for number, writer in enumerate(writers):
                rows = int(bounds[number + 1] - bounds[number])
                if rows:
                    writer.write_table(table.slice(int(bounds[number]), rows))
            if not more:
                return paths
            table, more = _up_to(parts, ORDERED_BYTES)
