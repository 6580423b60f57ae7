"""Scored, labelled pairs for tests, and what they hold in plain NumPy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def scored_table(rows: int, *, seed: int = 1, threshold: float = 0.5) -> pa.Table:
    """Scores of two classes: the similarity follows the label with some noise."""
    random = np.random.default_rng(seed)
    label = (random.random(rows) < 0.4).astype(np.int64)
    logit = random.normal(np.where(label == 1, 1.2, -1.2), 1.5)
    similarity = (1 / (1 + np.exp(-logit))).astype(np.float32)
    number = random.integers(0, 60, (2, rows))
    return pa.table(
        {
            "sentence1": [f"where is order {n}?" for n in number[0]],
            "sentence2": [f"my order {n} has not come" + " yet" * (n % 9) for n in number[1]],
            "label": label,
            "channel": np.array(["app", "web", "phone"])[random.integers(0, 3, rows)],
            "similarity": similarity,
            "similarity_label": (similarity >= threshold).astype(np.int64),
        }
    )


def write_scores(folder: Path, table: pa.Table, files: int = 2) -> Path:
    """A finished scoring folder: scores, rejects that must not be read, manifest, _SUCCESS."""
    (folder / "_rejects").mkdir(parents=True)
    (folder / "_shards").mkdir()
    size = -(-table.num_rows // files)
    written = []
    for number in range(files):
        part = table.slice(number * size, size)
        pq.write_table(part, folder / f"pairs-{number}.parquet", row_group_size=500)
        written.append({"name": f"pairs-{number}.parquet", "rows": part.num_rows})
    pq.write_table(table.select(["sentence1"]), folder / "_rejects/pairs-0.parquet.rejected")
    written.append({"name": "_rejects/pairs-0.parquet.rejected", "rows": table.num_rows})
    manifest = {"rows_scored": table.num_rows, "files": written, "bundle": {"path": "gone"}}
    (folder / "_manifest.json").write_text(json.dumps(manifest))
    (folder / "_SUCCESS").touch()
    return folder
