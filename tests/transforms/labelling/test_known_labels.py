"""Labels of pairs that were found: whichever sentence stands first, and whoever says what."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from transforms.errors import UserError
from transforms.labelling.known_labels import APART, SIMILAR, UNKNOWN, KnownLabels
from transforms.labelling.label_files import read_known
from transforms.pairs import PairColumns

COLUMNS = PairColumns(label="label")


def read(tmp_path, pairs) -> KnownLabels:
    names = ("sentence1", "sentence2", "label")
    path = tmp_path / "labelled.parquet"
    pq.write_table(pa.table(dict(zip(names, zip(*pairs, strict=True), strict=True))), path)
    return read_known([str(path)], COLUMNS)


def look_up(known, *pairs):
    side1, side2 = zip(*pairs, strict=True)
    return known.look_up(pa.array(side1, pa.large_string()), pa.array(side2)).tolist()


def test_pairs_are_known_in_both_orders(tmp_path):
    known = read(tmp_path, [("a", "b", 1), ("b", "c", 0), ("c", "d", None)])
    found = look_up(known, ("b", "a"), ("a", "b"), ("c", "b"), ("a", "c"), ("d", "c"))
    assert found == [SIMILAR, SIMILAR, APART, UNKNOWN, UNKNOWN]


def test_a_pair_that_is_said_to_be_both_is_no_negative(tmp_path):
    assert look_up(read(tmp_path, [("a", "b", "0"), ("b", "a", "1")]), ("a", "b")) == [SIMILAR]


def test_no_labels_say_nothing(tmp_path):
    assert look_up(read(tmp_path, [("a", "b", None)]), ("a", "b")) == [UNKNOWN]


def test_they_come_back_from_their_file(tmp_path):
    known = read(tmp_path, [("a", "b", True), ("b", "c", False)])
    again = KnownLabels.load(known.save(str(tmp_path / "labels.npz")))
    assert again.fingerprint == known.fingerprint
    assert look_up(again, ("a", "b"), ("b", "c")) == [SIMILAR, APART]


def test_labels_of_other_classes_are_refused(tmp_path):
    with pytest.raises(UserError, match="neither 0 nor 1"):
        read(tmp_path, [("a", "b", "same")])
