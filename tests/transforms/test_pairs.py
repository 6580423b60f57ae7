"""Batches of pairs: the schema's checks, and rows parted into good and rejected."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.errors import UserError
from transforms.labels import LabelRule
from transforms.pairs import PairColumns, check_schema, cut_sentences, keep_rows, split_rows

COLUMNS = PairColumns(label="label")
BINARY = LabelRule(classes=("0", "1"))


def batch(rows: list[tuple]) -> pa.RecordBatch:
    left, right, label = zip(*rows, strict=True)
    columns = [
        pa.array(left, pa.string()),
        pa.array(right, pa.string()),
        pa.array(label, pa.string()),
    ]
    return pa.RecordBatch.from_arrays(columns, ["sentence1", "sentence2", "label"])


def test_each_row_is_rejected_for_its_first_problem_only():
    rows = [
        ("a", "b", "1"),
        (None, "", None),
        ("a", " ", None),
        ("a", "b", None),
        ("a", "b", "2"),
        ("long", "b", "2"),
    ]
    good, bad = split_rows(batch(rows), COLUMNS, max_chars=3, labels=BINARY)
    assert good.equals(batch(rows[:1]))
    assert bad.drop_columns(["reject_reason", "reject_detail"]).equals(batch(rows[1:]))
    assert [(row["reject_reason"], row["reject_detail"]) for row in bad.to_pylist()] == [
        ("sentence_null", "sentence1 is null"),
        ("sentence_blank", "sentence2 is blank"),
        ("label_null", "label is null"),
        ("label_invalid", "label is not one of 0, 1"),
        ("sentence_too_long", "sentence1 has more than 3 characters"),
    ]


def test_labels_are_not_looked_at_where_none_are_asked_for():
    good, bad = split_rows(batch([("a", "b", None)]), PairColumns(), max_chars=3)
    assert (good.num_rows, bad.num_rows) == (1, 0)


def test_long_sentences_pass_where_they_are_to_be_cut():
    rows = [("abcdef", "字字字字字", "1"), ("abc", "x", "0")]
    good, bad = split_rows(batch(rows), PairColumns(), max_chars=3, truncate=True)
    assert (good.num_rows, bad.num_rows) == (2, 0)
    sides, cut = cut_sentences(good, PairColumns(), 3)
    assert [side.to_pylist() for side in sides] == [["abc", "abc"], ["字字字", "x"]]
    assert cut == 2


@given(
    st.lists(st.booleans(), min_size=1, max_size=50), st.sampled_from(["string", "view", "list"])
)
def test_rows_are_kept_whatever_the_type(mask, kind):
    kinds = {"string": pa.string(), "view": pa.string_view(), "list": pa.list_(pa.string_view())}
    values = [[str(n)] if kind == "list" else str(n) for n in range(len(mask))]
    rows = pa.RecordBatch.from_arrays([pa.array(values, kinds[kind])], ["x"])
    kept = keep_rows(rows, np.array(mask))
    assert kept.schema == rows.schema
    assert kept["x"].to_pylist() == [v for v, keep in zip(values, mask, strict=True) if keep]


@pytest.mark.parametrize(
    ("fields", "columns", "message"),
    [
        ([("sentence1", "string")], COLUMNS, r"no column 'sentence2'; it has 'sentence1'"),
        ([("sentence1", "string"), ("sentence2", "int8")], COLUMNS, "'sentence2' is int8"),
        ([("sentence1", "string"), ("sentence2", "string")], COLUMNS, "--label_column"),
        ([("sentence1", "string"), ("sentence2", "string"), ("label", "date32")], COLUMNS,
         "'label' is date32"),
        ([("sentence1", "string")] * 2, COLUMNS, "twice"),
        ([("a", "string")], PairColumns("a", "a"), "expected two columns"),
        ([(f"c{n}", "int8") for n in range(99)], COLUMNS, "'c11' and 87 more"),
    ],
)  # fmt: skip
def test_a_schema_that_will_not_do(fields, columns, message):
    schema = pa.schema([(name, pa.type_for_alias(kind)) for name, kind in fields])
    with pytest.raises(UserError, match=message) as raised:
        check_schema(schema, columns, "in/a.parquet")
    assert "--sentence" in str(raised.value) or "in/a.parquet" in str(raised.value)
