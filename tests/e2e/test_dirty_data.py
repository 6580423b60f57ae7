"""Two public data sets as they came, dirt and all, against counts made without our code."""

from __future__ import annotations

import unicodedata
from collections import Counter
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from pipelines import score
from transforms.labels import LabelRule
from transforms.pairs import PairColumns, split_rows

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
BINARY = LabelRule(classes=("0", "1"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not DATA.is_dir(), reason="the data sets are not here"),
]


def problem(sentence: str | None) -> str | None:
    """What is wrong with a sentence, by the letters' own categories."""
    if sentence is None:
        return "sentence_null"
    if all(unicodedata.category(letter) in ("Zs", "Zl", "Zp", "Cc", "Cf") for letter in sentence):
        return "sentence_blank"
    return "sentence_too_long" if len(sentence) > 10_000 else None


@pytest.mark.parametrize("name", ["covid_train_dirty", "pawsx_zh_dirty"])
def test_dirty_data_goes_through_with_the_right_counts(tiny, tmp_path, name):
    source = DATA / f"{name}.parquet"
    rows = duckdb.sql(f"select sentence1, sentence2 from '{source}'").fetchall()
    expected = Counter(problem(a) or problem(b) for a, b in rows)
    scored = expected.pop(None)
    output = tmp_path / "out"
    manifest = score.run(["--input", str(source), "--model", tiny.bundle, "--output", str(output)])
    print(f"{name}: {manifest['rows_in']} in, {scored} scored, {dict(expected)} rejected")
    assert manifest["rejected_by_reason"] == dict(expected)

    def count(files: str) -> int:
        return duckdb.sql(f"select count(*) from read_parquet('{files}')").fetchall()[0][0]

    assert count(f"{output}/*.parquet") == scored == manifest["rows_scored"]
    rejects = f"{output}/_rejects/*"
    assert (count(rejects) if expected else 0) == expected.total()
    names = pq.read_schema(source).names
    columns = ", ".join(f'"{column}"' for column in names)
    lost = duckdb.sql(
        f"select {columns} from '{source}' except all select {columns} from "
        f"read_parquet('{output}/*.parquet')"
    )
    assert len(lost.fetchall()) == expected.total()


def test_labels_that_are_missing_are_rejected_for_training():
    table = pq.read_table(DATA / "covid_train_dirty.parquet").combine_chunks()
    without = duckdb.sql(
        f"select count(*) from '{DATA}/covid_train_dirty.parquet' where label is null"
    ).fetchall()[0][0]
    (batch,) = table.to_batches()
    columns = PairColumns(label="label")
    good, bad = split_rows(batch, columns, max_chars=10_000, labels=BINARY)
    assert Counter(bad["reject_reason"].to_pylist()) == {"label_null": without}
    assert good.num_rows + without == table.num_rows
