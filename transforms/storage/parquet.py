"""Small Parquet files, local or `gs://`."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.storage import files


def read_table(path: str) -> pa.Table:
    """A file that fits in memory."""
    with files.open_input(path) as file:
        return pq.read_table(file)
