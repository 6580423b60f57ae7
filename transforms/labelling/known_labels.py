"""What labelled pairs say of pairs that were found: similar, apart, or nothing."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from transforms.errors import UserError
from transforms.hashing import pair_hash
from transforms.labelling.label_files import read_labels
from transforms.labels import LabelRule, parse_labels
from transforms.pairs import PairColumns, sentences
from transforms.storage import files

APART, SIMILAR, UNKNOWN = 0, 1, -1
BINARY = LabelRule(classes=("0", "1"))


@dataclass(frozen=True, eq=False)
class KnownLabels:
    """Labelled pairs by their hash.

    Attributes:
        hashes: see `transforms.hashing.pair_hash`; sorted, each once, uint64 [n].
        labels: APART or SIMILAR, int8 [n].
    """

    hashes: np.ndarray
    labels: np.ndarray

    @classmethod
    def read(cls, patterns: Sequence[str], columns: PairColumns) -> KnownLabels:
        """Those of files of labelled pairs, Parquet or text; one said to be both is similar.

        Raises:
            UserError: a file lacks a column, or a label is neither 0 nor 1.
        """
        table = read_labels(patterns, [*columns.sides, columns.label or "label"])
        keys, said = [np.zeros(0, np.uint64)], [np.zeros(0, np.int8)]
        for batch in table.to_batches():
            given = batch.column(2)
            labels = parse_labels(given, BINARY)
            known = labels.is_valid().to_numpy(zero_copy_only=False)
            if not known.all() and given.null_count < int((~known).sum()):
                raise UserError(
                    f"{patterns[0]}: a label in column {table.schema.names[2]!r} is neither 0 nor "
                    "1; make them so with twinbeam convert --label_map"
                )
            sides = [sentences(batch, name).fill_null("") for name in columns.sides]
            keys.append(pair_hash(*sides)[known])
            said.append(labels.drop_null().to_numpy(zero_copy_only=False).astype(np.int8))
        hashes, labels = np.concatenate(keys), np.concatenate(said)
        order = np.lexsort((-labels, hashes))
        found, first = np.unique(hashes[order], return_index=True)
        return cls(found, labels[order][first])

    def look_up(self, side1: pa.Array, side2: pa.Array) -> np.ndarray:
        """Sentences of both sides [n] → APART, SIMILAR or UNKNOWN, int8 [n]."""
        wanted = pair_hash(side1, side2)
        if not len(self.hashes):
            return np.full(len(wanted), UNKNOWN, np.int8)
        places = np.minimum(np.searchsorted(self.hashes, wanted), len(self.hashes) - 1)
        return np.where(self.hashes[places] == wanted, self.labels[places], UNKNOWN).astype(np.int8)

    @property
    def fingerprint(self) -> str:
        """Of all of them."""
        content = self.hashes.tobytes() + self.labels.tobytes()
        return hashlib.sha256(content).hexdigest()[:32]

    def save(self, path: str) -> str:
        """Writes them for workers; returns the path."""
        content = io.BytesIO()
        np.savez(content, hashes=self.hashes, labels=self.labels)
        files.write_bytes(path, content.getvalue())
        return path

    @classmethod
    def load(cls, path: str) -> KnownLabels:
        """Those that `save` wrote."""
        with np.load(io.BytesIO(files.read_bytes(path))) as found:
            return cls(found["hashes"], found["labels"])
