"""Files that a real Spark writes, and what a real Spark reads in a folder of scores.

`make test-spark` puts PySpark into an environment of its own and runs these tests; elsewhere they
are left out.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipelines.scoring import plan_scores
from tests.scoring_kit import EqualBundle, pairs, run_score, write

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-spark/bin/python"
GIVEN = os.environ.get("TWINBEAM_CASES")  # a folder of files that other engines wrote
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        not (PYTHON.exists() and shutil.which("java")), reason="make test-spark, which needs Java"
    ),
]
OURS = {"similarity": "float", "similarity_label": "bigint"}


class Spark:
    """The other process."""

    def __init__(self, folder: Path):
        self.process = subprocess.Popen(
            [PYTHON, ROOT / "tests/spark/session.py"],
            cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=(folder / "stderr").open("w"), text=True,
        )  # fmt: skip
        self.version = json.loads(self.process.stdout.readline())

    def ask(self, what: str, *given: Any) -> Any:
        self.process.stdin.write(json.dumps([what, *given]) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        assert not (isinstance(answer, dict) and "error" in answer), answer["error"]
        return answer

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spark]:
    made = Spark(tmp_path_factory.mktemp("spark"))
    yield made
    made.close()


@pytest.fixture(autouse=True)
def with_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_scores, "BundleScorer", EqualBundle)


def check_same(spark: Spark, came: Path, went: Path) -> None:
    """Spark finds the columns, types and values that it finds in the input, and ours behind."""
    types = spark.ask("types", str(came))
    folders = {part.partition("=")[0] for path in came.rglob("*=*") for part in [path.name]}
    own = {name: kind for name, kind in types.items() if name not in folders}
    parts = {name: kind for name, kind in types.items() if name in folders}
    assert spark.ask("types", str(went)) == own | OURS | parts
    assert list(spark.ask("types", str(went))) == [*own, *OURS, *parts]
    columns = [f"`{name}`" for name in types]
    assert spark.ask("rows", str(went), columns) == spark.ask("rows", str(came), columns)


SENTENCES = "concat('a', id) as sentence1, concat('a', id div 2) as sentence2"
# The first and the last that Spark knows of each kind.
EXTREMES = """
    select id, {sentences},
      case id when 0 then timestamp'0001-01-01 00:00:00' when 1 then
        timestamp'9999-12-31 23:59:59.999999' when 2 then
        timestamp'1500-02-28 12:00:00.000001' end t,
      case id when 0 then timestamp_ntz'0001-01-01 00:00:00' when 1 then
        timestamp_ntz'9999-12-31 23:59:59.999999' end ntz,
      case id when 0 then date'0001-01-01' when 1 then date'9999-12-31' end d,
      array(case id when 0 then timestamp'0001-01-01 00:00:00' when 1 then
        timestamp'9999-12-31 23:59:59.999999' end) ts,
      named_struct('t', case id when 1 then timestamp'9999-12-31 23:59:59.999999' end, 'n', id) s,
      map('k', case id when 0 then timestamp'0001-01-01 00:00:00' end) m,
      case id when 0 then -128Y when 1 then 127Y end b1,
      case id when 0 then -32768S when 1 then 32767S end b2,
      case id when 0 then int(-2147483648) when 1 then 2147483647 end b4,
      case id when 0 then bigint('-9223372036854775808') when 1 then 9223372036854775807L end b8,
      case id when 0 then float('-infinity') when 1 then float('nan') when 2 then
        float('-0.0') end f4,
      case id when 0 then double('infinity') when 1 then double('nan') when 2 then 4.9E-324D end f8,
      case id when 0 then -99999999999999999999999999999999999999BD when 1 then
        99999999999999999999999999999999999999BD end dec,
      case id when 0 then cast(99999.99 as decimal(7,2)) end dec4,
      case id when 0 then X'00ff' when 1 then X'' end bin,
      case id when 0 then '' when 1 then '\\u0000𝄞' end text,
      id % 2 = 0 as flag,
      case id when 0 then interval '-178956970-8' year to month end ym,
      case id when 1 then interval '106751991 04:00:54.775807' day to second end ds
    from range(4)""".replace("{sentences}", SENTENCES)


@pytest.mark.parametrize("times", ["INT96", "TIMESTAMP_MICROS", "TIMESTAMP_MILLIS"])
def test_spark_reads_its_own_columns_again_at_their_extremes(
    spark: Spark, tmp_path: Path, times: str
):
    spark.ask("set", "spark.sql.parquet.outputTimestampType", times)
    for kind in ("int96", "datetime"):
        spark.ask("set", f"spark.sql.parquet.{kind}RebaseModeInWrite", "CORRECTED")
    spark.ask("write", EXTREMES, str(tmp_path / "in"), [])
    (path,) = (tmp_path / "in").glob("*.parquet")
    kinds = pq.ParquetFile(path).schema
    assert (kinds.column(3).physical_type == "INT96") == (times == "INT96")

    run_score(tmp_path / "in", tmp_path / "out")

    check_same(spark, tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize("kind", ["int96", "datetime"])
def test_old_times_of_the_julian_calendar_are_the_same_days(
    spark: Spark, tmp_path: Path, kind: str
):
    """As Spark 2 wrote them, and later versions on demand: a mark in the footer says so."""
    times = "INT96" if kind == "int96" else "TIMESTAMP_MICROS"
    spark.ask("set", "spark.sql.parquet.outputTimestampType", times)
    spark.ask("set", f"spark.sql.parquet.{kind}RebaseModeInWrite", "LEGACY")
    try:
        query = f"select id, {SENTENCES}, timestamp'1500-02-28 12:00:00' t from range(2)"
        spark.ask("write", query, str(tmp_path / "in"), [])
    finally:
        spark.ask("set", f"spark.sql.parquet.{kind}RebaseModeInWrite", "CORRECTED")

    run_score(tmp_path / "in", tmp_path / "out")

    check_same(spark, tmp_path / "in", tmp_path / "out")
    assert "1500-02-28T12:00:00" in spark.ask("rows", str(tmp_path / "out"), ["t"])[0]


def test_what_only_sparks_schema_knows_is_kept(spark: Spark, tmp_path: Path):
    columns = "id bigint, sentence1 varchar(40) comment 'as typed', sentence2 string, c char(4)"
    spark.ask("table", columns, f"select id, {SENTENCES}, 'ab' from range(3)", f"{tmp_path}/in")

    run_score(tmp_path / "in", tmp_path / "out")

    came, went = (spark.ask("schema", str(tmp_path / name)) for name in ("in", "out"))
    assert went[:4] == came and came[1]["metadata"]["comment"] == "as typed"
    assert [field["name"] for field in went[4:]] == list(OURS)
    check_same(spark, tmp_path / "in", tmp_path / "out")


def test_folders_of_columns_as_spark_writes_them(spark: Spark, tmp_path: Path):
    days = "case id when 0 then '2024-01-01' when 1 then 'a/b: %=é\"' when 2 then '' end day"
    query = f"select id, {SENTENCES}, {days}, id % 2 as odd from range(5)"
    spark.ask("write", query, str(tmp_path / "in"), ["day", "odd"])

    run_score(tmp_path / "in", tmp_path / "out")

    check_same(spark, tmp_path / "in", tmp_path / "out")


def test_spark_reads_the_scored_rows_and_nothing_else(spark: Spark, tmp_path: Path):
    table = pairs(90)
    left = table["sentence1"].to_pylist()
    left[7] = " "
    source = write(tmp_path / "in.parquet", table.set_column(1, "sentence1", [left]))
    run_score(source, tmp_path / "out", "--shard_rows=30", "--max_reject_fraction=1")

    found = [json.loads(row)["id"] for row in spark.ask("rows", str(tmp_path / "out"), ["id"])]

    assert sorted(found) == [row for row in range(90) if row != 7]
    rejected = spark.ask("rows", str(tmp_path / "out/_rejects/*"), ["id", "reject_reason"])
    assert rejected == ['{"id":7,"reject_reason":"sentence_blank"}']


@pytest.mark.skipif(not GIVEN, reason="TWINBEAM_CASES names no folder")
@pytest.mark.parametrize("name", ["01-spark-row-metadata", "17-hive-partitions/spark_in"])
def test_a_file_that_was_given(spark: Spark, tmp_path: Path, name: str):
    for kind in ("int96", "datetime"):
        spark.ask("set", f"spark.sql.parquet.{kind}RebaseModeInRead", "CORRECTED")
    source = Path(str(GIVEN)) / name
    shutil.copytree(source, tmp_path / "in", ignore=shutil.ignore_patterns("README"))

    run_score(tmp_path / "in", tmp_path / "out")

    check_same(spark, tmp_path / "in", tmp_path / "out")


@pytest.mark.skipif(not GIVEN, reason="TWINBEAM_CASES names no folder")
def test_an_int96_of_another_engine_is_the_same_time(spark: Spark, tmp_path: Path):
    """Without a schema of Spark's it is a time on a clock: what Spark calls `timestamp_ntz`."""
    for kind in ("int96", "datetime"):
        spark.ask("set", f"spark.sql.parquet.{kind}RebaseModeInRead", "CORRECTED")
    source = Path(str(GIVEN)) / "02-int96-out-of-ns/int96.parquet"
    rejected = run_score(source, tmp_path / "out")["rows_rejected"]

    columns = ["cast(valid_to as string) as text"]
    came, went = (
        Counter(spark.ask("rows", str(path), columns)) for path in (source, tmp_path / "out")
    )
    assert not went - came and (came - went).total() == rejected
    assert any("9999-12-31" in row for row in went) and any("0001-01-01" in row for row in went)
