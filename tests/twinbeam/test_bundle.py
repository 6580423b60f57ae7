"""The bundle in Python: any kind of table in, the pipeline's scores out in the same kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import twinbeam
from tests.scoring_kit import FIELDS, EqualScorer
from transforms.errors import UserError
from twinbeam import bundle as bundles

LEFT = ["same", "one", None, " \n", "same", "x" * 10_001]
RIGHT = ["same", "other", "a", "b", "same", "y"]
SIMILARITY = [1.0, 0.0, None, None, 1.0, None]
LABELS = [1, 0, None, None, 1, None]
REASONS = [None, None, "sentence_null", "sentence_blank", None, "sentence_too_long"]


class Scorer(EqualScorer):
    """Vectors are the sentences' lengths; equal sentences must come once."""

    dimensions = 1

    def encode(self, sentences: list[str]) -> np.ndarray:
        assert len(sentences) == len(set(sentences))
        return np.array([[len(text)] for text in sentences], np.float32)


@pytest.fixture
def bundle(monkeypatch: pytest.MonkeyPatch) -> bundles.Bundle:
    class Fake:
        def __init__(self, folder: str, options: object):
            assert folder == "out/bundle"

        def verify(self) -> dict[str, Any]:
            return {"threshold": 0.5}

        def load(self) -> Scorer:
            return Scorer()

    monkeypatch.setattr(bundles, "BundleScorer", Fake)
    return twinbeam.load("out/bundle/")


def check(found: pa.Table) -> None:
    assert found.to_pydict() == {
        "similarity": SIMILARITY,
        "similarity_label": LABELS,
        "reject_reason": REASONS,
    }
    assert found.schema.field("similarity").type == FIELDS[0].type


def test_pandas_keeps_its_index(bundle):
    frame = pd.DataFrame({"q": LEFT, "a": RIGHT}, index=[9, 8, 7, 6, 5, 4])
    found = bundle.score(frame, "q", "a")
    assert isinstance(found, pd.DataFrame) and list(found.index) == [9, 8, 7, 6, 5, 4]
    check(pa.Table.from_pandas(found, preserve_index=False))
    assert found.similarity_label.dtype == "Int64"  # a null does not make labels floats
    assert frame.join(found).columns.tolist() == ["q", "a", *found.columns]


def test_polars(bundle):
    found = bundle.score(pl.DataFrame({"q": LEFT, "a": RIGHT}), "q", "a")
    assert isinstance(found, pl.DataFrame)
    check(found.to_arrow())


def test_arrow_tables_batches_and_chunks(bundle):
    table = pa.table({"sentence1": LEFT, "sentence2": RIGHT})
    check(bundle.score(table))
    check(bundle.score(table.combine_chunks().to_batches()[0]))
    check(bundle.score(pa.concat_tables([table.slice(0, 2), table.slice(2)])))
    dictionaries = pa.table({name: table[name].dictionary_encode() for name in table.column_names})
    check(bundle.score(dictionaries))


def test_lists_and_mappings(bundle):
    check(bundle.score(list(zip(LEFT, RIGHT, strict=True))))
    check(bundle.score(LEFT, RIGHT))
    check(bundle.score({"sentence1": LEFT, "sentence2": RIGHT}))
    assert bundle.score([]).num_rows == 0
    assert bundle.score([(None, None)])["reject_reason"].to_pylist() == ["sentence_null"]


@pytest.mark.parametrize(
    ("pairs", "line"),
    [
        (pd.DataFrame({"a": ["x"]}), "no column 'sentence1'; it has a"),
        (pd.DataFrame({"sentence1": [1], "sentence2": ["x"]}), "is int64, expected text"),
        ({"sentence1": ["a"], "sentence2": []}, "different lengths"),
        ([("a", "b", "c")], "a list of pairs of sentences"),
        (3, "received int"),
    ],
)
def test_what_is_no_table_of_pairs_is_refused(bundle, pairs: Any, line: str):
    with pytest.raises(UserError, match=line):
        bundle.score(pairs)


def test_encode(bundle):
    texts = ["ab", "abc", "ab"]
    for given in (texts, np.array(texts), pd.Series(texts), pl.Series(texts), pa.array(texts)):
        assert bundle.encode(given).tolist() == [[2], [3], [2]]
    assert bundle.encode([]).shape == (0, 1)
    with pytest.raises(UserError, match="sentence 1 is blank"):
        bundle.encode(["a", " "])
    with pytest.raises(UserError, match="received one"):
        bundle.encode("ab")


def test_the_threshold_is_the_bundles(bundle):
    assert bundle.threshold == 0.5
