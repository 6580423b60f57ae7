"""Hands tables from the tasks of one step to those of the next, through files.

Each task writes one Parquet file with a row group for each bucket; a task of the next step reads
its bucket's row group of every file. So what is passed on is on the disk or in the bucket, not in
the memory of the runner, and a step that is done need not be done again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from transforms.hashing import mix, split_by_hash
from transforms.storage import files

BUCKETS, NOTES = "twinbeam buckets", "twinbeam notes"


class Owner(Protocol):
    """Keeps other runs out of a folder; see `transforms.accounts.claims.Claim`."""

    @property
    def folder(self) -> str:
        """The folder."""
        ...

    def reveal(self, hidden: str, name: str) -> None:
        """Gives a file of `_tmp/` its final name, unless another run has taken the folder."""
        ...


@dataclass(frozen=True)
class Exchange:
    """A folder of tables on their way from step to step.

    Attributes:
        folder: for this run's key and input alone.
        buckets: into how many pieces the nodes are divided.
        claim: of the run to the output that the folder lies in; None where no other writer is
            kept out.
    """

    folder: str
    buckets: int
    claim: Owner | None = None

    def path(self, step: str, task: int | str) -> str:
        """The file of a task."""
        return files.join(self.folder, f"{step}-{task}.parquet")

    def buckets_of(self, nodes: np.ndarray) -> np.ndarray:
        """The bucket of each node, uint64 [n]."""
        return mix(nodes) % np.uint64(self.buckets)

    def done(self, step: str, task: int | str) -> dict[str, Any] | None:
        """The notes of a task that is done, or None."""
        path = self.path(step, task)
        if not files.exists(path):
            return None
        with files.open_input(path) as file:
            return json.loads(pq.ParquetFile(file).metadata.metadata[NOTES.encode()])

    def write(
        self,
        step: str,
        task: int | str,
        table: pa.Table,
        buckets: np.ndarray,
        notes: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Writes a task's table, each row to its bucket, [n].

        Returns:
            The notes, which the next step reads without reading the table.
        """
        found, notes = [], dict(notes or {})
        path = self.path(step, task)
        folder, _, name = path.rpartition("/")
        hidden, file = files.create_hidden(self.claim.folder if self.claim else folder, name)
        with pq.ParquetWriter(
            pa.PythonFile(file, mode="w"), table.schema, compression="none",
            use_dictionary=False, write_statistics=False,  # they cost more than reading all
        ) as to:  # fmt: skip
            for bucket, places in split_by_hash(buckets.astype(np.uint64), self.buckets):
                part = table.take(pa.array(places))
                to.write_table(part, row_group_size=max(1, part.num_rows))
                found.append(bucket)
            to.add_key_value_metadata({BUCKETS: json.dumps(found), NOTES: json.dumps(notes)})
        file.close()
        if self.claim is None:
            files.reveal(hidden, path)
        else:
            self.claim.reveal(hidden, path.removeprefix(self.claim.folder).lstrip("/"))
        return notes

    def note(self, step: str, task: int | str, notes: Mapping[str, Any]) -> dict[str, Any]:
        """Notes of a task that has no rows to pass on."""
        return self.write(step, task, pa.table({"none": []}), np.zeros(0, np.uint64), notes)

    def read(self, step: str, tasks: Iterable[int | str], bucket: int) -> pa.Table | None:
        """All rows of a bucket, in the order of the tasks; None where no task has any."""
        parts = [self._read(self.path(step, task), bucket) for task in tasks]
        present = [part for part in parts if part is not None]
        return pa.concat_tables(present).combine_chunks() if present else None

    def _read(self, path: str, bucket: int) -> pa.Table | None:
        with files.open_input(path) as file:
            parquet = pq.ParquetFile(file)
            found = json.loads(parquet.metadata.metadata[BUCKETS.encode()])
            return parquet.read_row_group(found.index(bucket)) if bucket in found else None
