"""Vectors of sentences that a bundle encoded before, kept in a folder for the next run.

A store belongs to one bundle. It is a set of Parquet files of (key, vector), a key being a hash
of the sentence; a file's name gives the range of its keys, so a reader opens those it needs.
Files are only ever added complete, under names made from their content, so runs at the same time do
not disturb each other; a sentence in two files has the same vector in both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from transforms.errors import UserError
from transforms.storage import files
from transforms.storage.parquet import read_table
from transforms.text_keys import KEY

ABOUT = "store.json"
COMPACTED_ROWS = 1_000_000
_PREFIX = 4  # bytes of a key in a file's name


@dataclass(frozen=True)
class EmbeddingStore:
    """The store of one bundle's vectors in a folder.

    Attributes:
        folder: where it is, local or `gs://`.
        fingerprint: of the bundle the vectors come from.
        dimensions: length d of a vector.
    """

    folder: str
    fingerprint: str
    dimensions: int

    def open(self) -> EmbeddingStore:
        """Checks that the store is this bundle's, or begins one where there is none.

        Raises:
            UserError: the store belongs to another bundle.
        """
        path = files.join(self.folder, ABOUT)
        about = {"bundle": self.fingerprint, "dimensions": self.dimensions}
        if not files.exists(path):
            if files.list_folder(self.folder):
                raise UserError(f"{self.folder} is not an embedding store, and not empty")
            files.write_json(path, about)
        elif files.read_json(path) != about:
            raise UserError(
                f"the embedding store {self.folder} holds vectors of another bundle; "
                "name another folder with --embedding_store, or delete this one"
            )
        return self

    def look_up(self, keys: pa.Array, into: np.ndarray) -> np.ndarray:
        """Copies the stored vectors into their rows of `into` [n, d].

        Returns:
            Which keys were found, bool [n].
        """
        found = np.zeros(len(keys), bool)
        if not len(keys):
            return found
        lowest, highest = (_prefix(bound.as_py()) for bound in pc.min_max(keys).values())
        for name in self._files():
            first, last = name.split("-")[:2]
            if first <= highest and last >= lowest:
                self._look_up_in(name, keys, into, found)
        return found

    def _look_up_in(self, name: str, keys: pa.Array, into: np.ndarray, found: np.ndarray) -> None:
        try:
            table = self._read(name)
        except FileNotFoundError:  # compacted meanwhile: what it held will be encoded again
            return
        places = pc.index_in(keys, value_set=table["key"].combine_chunks())
        known = places.is_valid().to_numpy(zero_copy_only=False)
        into[known] = _matrix(table, self.dimensions)[places.drop_null().to_numpy()]
        found |= known

    def add(self, keys: pa.Array, vectors: np.ndarray) -> str:
        """Adds vectors [n, d], n > 0, as one file; returns its name."""
        order = pc.sort_indices(keys)
        keys, flat = keys.take(order), vectors[order.to_numpy()].astype(np.float32).ravel()
        column = pa.FixedSizeListArray.from_arrays(pa.array(flat), self.dimensions)
        table = pa.table({"key": keys, "vector": column})
        table = table.replace_schema_metadata({"bundle": self.fingerprint})
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="none", row_group_size=65_536)
        content = sink.getvalue().to_pybytes()
        first, last = _prefix(keys[0].as_py()), _prefix(keys[-1].as_py())
        name = f"{first}-{last}-{hashlib.sha256(content).hexdigest()[:16]}.parquet"
        files.write_bytes(files.join(self.folder, name), content)
        return name

    def read(self) -> tuple[pa.Array, np.ndarray]:
        """All stored ones: distinct keys [n], and their vectors, float32 [n, d]."""
        lowest, highest = bytes(_PREFIX), b"\xff" * _PREFIX
        return self._merged(self._files(), lowest, highest)

    def compact(self, *, rows: int = COMPACTED_ROWS) -> tuple[int, int]:
        """Writes the stored vectors as few files without repeats, range by range.

        Returns:
            Number of files before and after.
        """
        before = self._files()
        total = sum(self._rows(name) for name in before)
        parts = max(1, -(-total // rows))
        bounds = [(part << 32) // parts for part in range(parts + 1)]
        written = set()
        for low, end in pairwise(bounds):
            merged = self._merged(
                before, low.to_bytes(_PREFIX, "big"), (end - 1).to_bytes(_PREFIX, "big")
            )
            if len(merged[0]):
                written.add(self.add(*merged))
        # Only files that were read: one that a run has added meanwhile stays. Names follow from the
        # content, so a file that came out the same is among both.
        files.delete([files.join(self.folder, name) for name in before if name not in written])
        return len(before), len(self._files())

    def _merged(self, names: Sequence[str], low: bytes, high: bytes) -> tuple[pa.Array, np.ndarray]:
        """Keys from `low` to `high` in the files, each once, and their vectors."""
        keys, vectors = pa.array([], KEY), np.empty((0, self.dimensions), np.float32)
        for name in names:
            first, last = name.split("-")[:2]
            if first <= high.hex() and last >= low.hex():
                table = self._read(name)
                prefix = pc.binary_slice(table["key"].cast(pa.binary()), 0, _PREFIX)
                inside = pc.and_(pc.greater_equal(prefix, low), pc.less_equal(prefix, high))
                table = table.filter(inside)
                keys = pa.concat_arrays([keys, table["key"].combine_chunks()])
                vectors = np.concatenate([vectors, _matrix(table, self.dimensions)])
        distinct = keys.unique()
        return distinct, vectors[pc.index_in(distinct, value_set=keys).to_numpy()]

    def _files(self) -> list[str]:
        return [
            name
            for name in files.list_folder(self.folder)
            if name.endswith(".parquet") and not name.startswith(".")
        ]

    def _rows(self, name: str) -> int:
        with files.open_input(files.join(self.folder, name)) as file:
            return pq.ParquetFile(file).metadata.num_rows

    def _read(self, name: str) -> pa.Table:
        return read_table(files.join(self.folder, name))


def open_store(folder: str) -> EmbeddingStore:
    """The store in a folder, whichever bundle's it is.

    Raises:
        UserError: there is none.
    """
    path = files.join(folder, ABOUT)
    if not files.exists(path):
        raise UserError(f"{folder} has no {ABOUT}; it is not an embedding store")
    about = files.read_json(path)
    return EmbeddingStore(folder, about["bundle"], about["dimensions"])


def _prefix(key: bytes) -> str:
    return key[:_PREFIX].hex()


def _matrix(table: pa.Table, dimensions: int) -> np.ndarray:
    column = table["vector"].combine_chunks()
    return column.flatten().to_numpy().reshape(-1, dimensions)
