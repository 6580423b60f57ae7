"""Makes what the nightly runs of Airflow need: pairs and sentences of some days, labelled pairs.

Everything is synthetic, and the same for the same day. An existing day is left alone.

    python -m demo.nights demo-nights --days 2026-11-18 2026-11-19 2026-11-20
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from demo.pairs import table

DAY_ROWS = 600  # one of them cannot be scored
RECIPE = """\
name: small-bilstm
description: A small network that learns the made-up questions in seconds.
source: made up for trying the nightly runs
task: binary
labels: {classes: ["0", "1"]}
text: {tokenizer: char, eval_fraction: 0.1}
embedding: {dimensions: 24, trainable: true}
encoder: {kind: bilstm, units: [24], pooling: last}
comparison: {kind: manhattan}
loss: {kind: binary_crossentropy}
training: {epochs: 3, batch_size: 64, optimizer: nadam, learning_rate: 0.01}
"""


def run(argv: Sequence[str] | None = None) -> None:
    """Makes what is not there yet."""
    parser = argparse.ArgumentParser(prog="python -m demo.nights", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--days", nargs="+", type=date.fromisoformat, required=True)
    parser.add_argument("--labelled_rows", type=int, default=4_000)
    args = parser.parse_args(argv)
    args.folder.mkdir(parents=True, exist_ok=True)
    (args.folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    labelled, holdout = args.labelled_rows, args.labelled_rows // 4
    write(args.folder / "labelled", table(random.Random(1), labelled, first_id=0, unlabelled=True))
    write(args.folder / "holdout", table(random.Random(2), holdout, first_id=0, unlabelled=False))
    for day in args.days:
        pairs = day_pairs(day)
        write(args.folder / "pairs" / day.isoformat(), pairs)
        write(args.folder / "sentences" / day.isoformat(), day_sentences(pairs))


def day_pairs(day: date) -> pa.Table:
    """The pairs of a day; their ids begin with the day, so that none is in two of them."""
    first = int(f"{day:%Y%m%d}") * 10_000
    made = table(random.Random(first), DAY_ROWS, first_id=0, unlabelled=False)
    ids = pa.array(range(first, first + DAY_ROWS), pa.int64())
    return made.set_column(0, made.schema.field("id"), ids)


def day_sentences(pairs: pa.Table) -> pa.Table:
    """The first sentences of a day's pairs, a row each."""
    return pairs.select(["id", "sentence1"]).rename_columns(["id", "sentence"])


def write(folder: Path, made: pa.Table) -> None:
    """Writes two files, and `_SUCCESS` when both are complete."""
    if (folder / "_SUCCESS").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    half = made.num_rows // 2
    for number in range(2):
        part = made.slice(number * half, half)
        pq.write_table(part, folder / f"pairs-{number}.parquet", row_group_size=200)
    (folder / "_SUCCESS").touch()


if __name__ == "__main__":
    run()
