"""Labels of every type, by hand."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from transforms.labels import LabelRule, can_be_label, parse_labels

BINARY = LabelRule(classes=("0", "1"))
RANGE = LabelRule(minimum=0, maximum=5)
ENTAILMENT = LabelRule(classes=("neutral", "entailment"))


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([0, 1, 2, -1, None], pa.int8(), [0, 1, None, None, None]),
        ([0, 2**64 - 1], pa.uint64(), [0, None]),
        ([0.0, 1.0, 0.5, float("nan"), float("inf"), 1e300], pa.float64(), [0, 1] + [None] * 4),
        ([np.float16(1), np.float16(0.5)], pa.float16(), [1, None]),
        ([True, False, None], pa.bool_(), [1, 0, None]),
        (["0", " 1\n", "1.0", "", "yes", None], pa.string(), [0, 1] + [None] * 4),
        (["1", "０"], pa.large_string(), [1, None]),
        (["1", "0"], pa.string_view(), [1, 0]),
        ([Decimal("1.00"), Decimal("0.10")], pa.decimal128(5, 2), [1, None]),
    ],
)
def test_classes_are_compared_as_text(values, kind, expected):
    found = parse_labels(pa.array(values, kind), BINARY)
    assert found.type == pa.float32()
    assert found.to_pylist() == expected


def test_class_names_and_dictionaries():
    array = pa.array(["entailment", "neutral", "x", None]).dictionary_encode()
    assert parse_labels(array, ENTAILMENT).to_pylist() == [1, 0, None, None]


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([0, 5, 6, -1, None], pa.int64(), [0, 5, None, None, None]),
        ([2**62 + 1, 3], pa.int64(), [None, 3]),
        ([0.0, 4.999, 5.001, float("nan"), float("-inf")], pa.float64(), [0, 4.999] + [None] * 3),
        (["2.5", " 3 ", "1e0", "+.5", "2,5", "0x1", "nan", "five", ""], pa.string(),
         [2.5, 3, 1, 0.5] + [None] * 5),
        ([Decimal("3.80")], pa.decimal128(5, 2), [3.8]),
    ],
)  # fmt: skip
def test_numbers_have_to_be_in_the_range(values, kind, expected):
    found = parse_labels(pa.array(values, kind), RANGE).to_pylist()
    assert found == [None if value is None else np.float32(value) for value in expected]


@pytest.mark.parametrize("rule", [BINARY, RANGE])
def test_text_that_is_not_utf8_is_no_label(rule):
    broken = pa.array([b"\xff", b"1"], pa.binary()).view(pa.string())
    assert parse_labels(broken, rule).to_pylist() == [None, 1]


def test_which_columns_can_be_labels():
    fine = [
        pa.int8(),
        pa.uint64(),
        pa.float16(),
        pa.bool_(),
        pa.decimal128(3),
        pa.string_view(),
        pa.binary(),
    ]
    assert all(can_be_label(kind) for kind in [*fine, pa.dictionary(pa.int8(), pa.string())])
    bad = [pa.list_(pa.int8()), pa.date32(), pa.null(), pa.timestamp("s")]
    assert not any(can_be_label(kind) for kind in bad)


def test_a_rule_says_what_it_expects():
    assert BINARY.expected == "one of 0, 1"
    assert RANGE.expected == "a number from 0 to 5"
