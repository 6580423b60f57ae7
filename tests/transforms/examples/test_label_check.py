from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from transforms.errors import UserError
from transforms.examples.label_check import check_labels
from transforms.input.shards import plan
from transforms.labels import LabelRule
from transforms.pairs import PairColumns

TWO = LabelRule(("0", "1"))


def shard_of(folder: Path, labels: list):
    texts = ["a"] * len(labels)
    table = pa.table({"sentence1": texts, "sentence2": texts, "label": labels})
    pq.write_table(table, folder / "in.parquet")
    return plan([str(folder / "in.parquet")], PairColumns(label="label"), shard_rows=9_999).shards[
        0
    ]


@pytest.mark.parametrize(
    ("labels", "rule", "line"),
    [
        (["same", "other"], TWO, "none of the first 2 .* is one of 0, 1: 'same', 'other'; map them "
         "with twinbeam convert --label_map, such as other=0 same=1"),
        ([2, 3, 4, 5, None], TWO, "first 4 labels .*: '2', '3', '4', …; name the"),
        (["x" * 99], TWO, "'x{24}'; map them"),
        ([7.5], LabelRule(None, 0, 5), "is a number from 0 to 5: '7.5'; name the label's column"),
    ],
)  # fmt: skip
def test_labels_that_fit_nothing_are_shown(
    tmp_path: Path, labels: list, rule: LabelRule, line: str
):
    with pytest.raises(UserError, match=line):
        check_labels(shard_of(tmp_path, labels), "label", rule)


@pytest.mark.parametrize("labels", [["1", "x", "x"], [None, None], ["x"] * 500 + ["0"]])
def test_some_that_fit_are_enough(tmp_path: Path, labels: list):
    check_labels(shard_of(tmp_path, pa.array(labels, pa.string())), "label", TWO)


def test_only_the_first_rows_are_read(tmp_path: Path):
    with pytest.raises(UserError, match="none of the first 1,000"):
        check_labels(shard_of(tmp_path, ["x"] * 1_000 + ["1"]), "label", TWO)
