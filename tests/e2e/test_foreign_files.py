"""Files as other engines write them: what every command makes of them, in one table.

Each row of CASES has what makes the input, the command line, its exit code, and what has to hold
afterwards. DuckDB reads the files that were written, so that Arrow is not its own judge.
"""
# ruff: noqa: E501 (tables)

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from pipelines import convert, evaluate, score
from pipelines.options import command_line
from pipelines.scoring import plan_scores
from tests.scored_pairs import scored_table
from tests.scoring_kit import EqualBundle, pairs, write

COMMANDS = {"convert": convert.run, "score": score.run, "evaluate": evaluate.run}
SPARK_SCHEMA = b"org.apache.spark.sql.parquet.row.metadata"


@dataclass(frozen=True)
class Case:
    """One foreign file.

    Attributes:
        make: writes the input into the folder.
        command: the command line; `{}` is the folder.
        check: looks at the folder, and at what was printed.
        code: the exit code.
    """

    make: Callable[[Path], object]
    command: str
    check: Callable[[Path, str], object]
    code: int = 0


SCORE = "score --input {}/in/*.parquet --model bundle --output {}/out"
EVALUATE = "evaluate --input {}/in/*.parquet --output {}/out --resamples 10"


def one_file(table: pa.Table, **how: object) -> Callable[[Path], Path]:
    return lambda folder: write(folder / "in" / "a.parquet", table, **how)


def query(statement: str, folder: Path) -> list[tuple]:
    """DuckDB's answer; `IN` and `OUT` stand for the tables of the input and of the scores."""
    tables = {
        "IN": f"read_parquet('{folder}/in/**/*.parquet')",
        "OUT": f"read_parquet('{folder}/out/**/*-of-*.parquet')",
    }
    for name, table in tables.items():
        statement = statement.replace(name, table)
    return duckdb.sql(statement).fetchall()


def columns(folder: Path, table: str = "OUT") -> dict[str, str]:
    """DuckDB's types by name."""
    return {name: kind for name, kind, *_ in query(f"describe select * from {table}", folder)}


def unchanged(folder: Path) -> None:
    """The input's columns come out with the same names, types and values, in the same order."""
    came, went = columns(folder, "IN"), columns(folder)
    assert list(went.items()) == [
        *came.items(),
        ("similarity", "FLOAT"),
        ("similarity_label", "BIGINT"),
    ]
    names = ", ".join(f'"{name}"' for name in came)
    for one, other in (("IN", "OUT"), ("OUT", "IN")):
        assert not query(
            f"select {names} from {one} except all select {names} from {other}", folder
        )


def says(*parts: str) -> Callable[[Path, str], None]:
    def check(folder: Path, printed: str) -> None:
        assert all(part in printed for part in parts), printed
        assert not list((folder / "out").glob("*.parquet"))

    return check


def refuses(*parts: str) -> Callable[[Path, str], None]:
    """One line says why, before there is any output."""

    def check(folder: Path, printed: str) -> None:
        assert all(part in printed for part in parts), printed
        assert not (folder / "out").exists()

    return check


# --- times of a kind that is no longer written ---------------------------------------------------

FAR = [datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999), datetime(1677, 9, 21), None]
INT96 = {"use_deprecated_int96_timestamps": True}


def times(unit: str = "us", values: list | None = None) -> pa.Array:
    return pa.array(values or FAR, pa.timestamp(unit))


def nested_times() -> pa.Table:
    moment = datetime(1500, 2, 3, 4, 5, 6, 7)
    return pairs(
        2,
        a=pa.array([[moment], None], pa.list_(pa.timestamp("us"))),
        b=pa.array(
            [{"x": 1, "y": moment}, {"x": 2, "y": None}],
            pa.struct([("x", pa.int32()), ("y", pa.timestamp("us"))]),
        ),
        c=pa.array([[(moment, 1)], []], pa.map_(pa.timestamp("us"), pa.int8())),
    )


def nanoseconds(value: int) -> pa.Array:
    """A time as INT96 that has this many nanoseconds."""
    return pa.array([0, None, value], pa.timestamp("ns"))


def out_is_in_microseconds(folder: Path, _: str) -> None:
    unchanged(folder)
    (path,) = (folder / "out").glob("*-of-*.parquet")
    column = pq.ParquetFile(path).schema.column(3)
    assert (column.physical_type, json.loads(column.logical_type.to_json())["timeUnit"]) == (
        "INT64",
        "microseconds",
    )


def nested_times_come_out(folder: Path, _: str) -> None:
    unchanged(folder)
    assert query("select a[1], b.y, map_keys(c)[1] from OUT where id = 0", folder) == [
        (datetime(1500, 2, 3, 4, 5, 6, 7),) * 3
    ]


def nanoseconds_come_out(folder: Path, _: str) -> None:
    assert query("select epoch_ns(t) from OUT order by id", folder) == [
        (0,),
        (None,),
        (1_700_000_000_000_000_001,),
    ]


# --- what a footer says of the schema -------------------------------------------------------------

SPARK_FIELDS = [
    {"name": "id", "type": "long", "nullable": True, "metadata": {}},
    {"name": "sentence1", "type": "string", "nullable": True, "metadata": {"comment": "as typed", "__CHAR_VARCHAR_TYPE_STRING": "varchar(40)"}},
    {"name": "sentence2", "type": "string", "nullable": True, "metadata": {}},
    {"name": "valid_to", "type": "timestamp", "nullable": True, "metadata": {}},
]  # fmt: skip


def of_spark() -> pa.Table:
    keys = {
        SPARK_SCHEMA: json.dumps({"type": "struct", "fields": SPARK_FIELDS}),
        "org.apache.spark.version": "3.5.3",
        "mine": "kept",
    }
    return pairs(4, valid_to=times()).replace_schema_metadata(keys)


def footer_keys(folder: Path) -> dict[bytes, bytes]:
    (path,) = (folder / "out").glob("*-of-*.parquet")
    return pq.ParquetFile(path).metadata.metadata


def spark_sees_our_columns(folder: Path, _: str) -> None:
    unchanged(folder)
    keys = footer_keys(folder)
    assert json.loads(keys[SPARK_SCHEMA])["fields"] == [
        *SPARK_FIELDS,
        {"name": "similarity", "type": "float", "nullable": True, "metadata": {}},
        {"name": "similarity_label", "type": "long", "nullable": True, "metadata": {}},
    ]
    assert (keys[b"org.apache.spark.version"], keys[b"mine"]) == (b"3.5.3", b"kept")


def with_keys(**keys: str) -> pa.Table:
    return pairs(4).replace_schema_metadata(
        {name.replace("__", "."): value for name, value in keys.items()}
    )


def other_schemas_are_gone(folder: Path, _: str) -> None:
    unchanged(folder)
    assert footer_keys(folder).keys() - {b"ARROW:schema"} == {b"mine"}


# --- kinds of column that Arrow has not -----------------------------------------------------------


def by_duckdb(columns: str, **how: object) -> Callable[[Path], None]:
    """Pairs with more columns, written by DuckDB."""

    def make(folder: Path) -> None:
        (folder / "in").mkdir()
        options = "".join(f", {name} '{value}'" for name, value in how.items())
        duckdb.sql(
            f"copy (select i as id, 'a' || i as sentence1, 'a' || (i // 2) as sentence2, {columns} "
            f"from range(6) t(i)) to '{folder}/in/a.parquet' (format parquet{options})"
        )

    return make


def json_sentences(folder: Path) -> None:
    table = pairs(4)
    quoted = pa.array([json.dumps(text) for text in table["sentence1"].to_pylist()])
    text = pa.ExtensionArray.from_storage(pa.json_(), quoted)
    one_file(table.set_column(1, "sentence1", text))(folder)


def as_enum(folder: Path) -> None:
    """A column `mood` that the footer calls ENUM, by changing the bytes that call it a string."""
    path = one_file(pairs(4, mood=["ok", "sad", None, "ok"]), store_schema=False)(folder)
    string, enum = (b"mood\x25" + bytes(kind) for kind in ([0, 0x4C, 0x1C], [8, 0x4C, 0x4C]))
    content = path.read_bytes()
    assert content.count(string) == 1
    path.write_bytes(content.replace(string, enum))


def reports(*columns: str) -> Callable[[Path, str], None]:
    def check(folder: Path, printed: str) -> None:
        (line,) = [line for line in printed.splitlines() if line.startswith("note: ")]
        assert all(column in line for column in columns), line
        assert printed.index(line) < printed.index("rows in")
        assert query("select count(*) from OUT", folder) == query("select count(*) from IN", folder)

    return check


def reports_nothing(folder: Path, printed: str) -> None:
    assert "note: " not in printed
    unchanged(folder)


def same_bytes(column: str) -> Callable[[Path, str], None]:
    """The values of a column are the same, whatever the file calls it."""

    def check(folder: Path, printed: str) -> None:
        reports(column)(folder, printed)
        name = column.split()[0]
        paths = folder / "in" / "a.parquet", *(folder / "out").glob("*-of-*.parquet")
        came, went = (
            pq.ParquetFile(path).read(columns=[name]).column(name).to_pylist() for path in paths
        )
        assert went == came

    return check


# --- evaluation -----------------------------------------------------------------------------------

CLASSED = scored_table(400)
NUMBERS = CLASSED.set_column(2, "label", pa.array(np.linspace(0, 5, 400)))
NESTED = pa.array(
    [{"en": "x" * 9, "n": 1e9}] * 400, pa.struct([("en", pa.string()), ("n", pa.float64())])
)
REGRESSION = EVALUATE + " --task regression --label_range 0 5"


def metrics(folder: Path) -> dict:
    return json.loads((folder / "out" / "metrics.json").read_text())


def as_without_the_struct(folder: Path, _: str) -> None:
    """What is measured is what is measured where no struct stands in front."""
    write(folder / "flat" / "a.parquet", NUMBERS)
    line = f"--input {folder}/flat/a.parquet --output {folder}/flat/out --resamples 10 --task regression --label_range 0 5"
    assert metrics(folder)["metrics"] == evaluate.run(line.split())["metrics"]


def beyond_one(**how: object) -> Callable[[Path], Path]:
    """Scores from 0 to 5 behind a map, with or without statistics in the footer."""
    mapped = pa.array([[("k", 1)]] * 400, pa.map_(pa.string(), pa.int32()))
    scores = pa.array(np.linspace(0, 5, 400), pa.float32())
    table = NUMBERS.set_column(4, "similarity", scores).add_column(0, "m", mapped)
    return one_file(table, **how)


def is_perfect(folder: Path, _: str) -> None:
    assert metrics(folder)["metrics"]["spearman"] == pytest.approx(1, abs=1e-4)


def all_judged(folder: Path, _: str) -> None:
    found = metrics(folder)
    assert found["rows"] == 400
    correct = np.asarray(CLASSED["label"]) == np.asarray(CLASSED["similarity_label"])
    assert found["metrics"]["accuracy"] == pytest.approx(correct.mean())


def with_type(name: str, kind: pa.DataType) -> pa.Table:
    place = CLASSED.schema.get_field_index(name)
    values = CLASSED[name].cast(pa.string()).cast(kind)
    return CLASSED.set_column(place, name, values)


def sliced(kind: pa.DataType, value: object) -> Callable[[Path], Path]:
    return one_file(CLASSED.append_column("s", pa.array([value, None] * 200, kind)))


def uuids(folder: Path) -> None:
    values = pa.array([bytes(16)] * 400, pa.binary(16))
    one_file(CLASSED.append_column("s", pa.ExtensionArray.from_storage(pa.uuid(), values)))(folder)


def has_slices(*values: str) -> Callable[[Path, str], None]:
    def check(folder: Path, _: str) -> None:
        found = [one for one in metrics(folder)["slices"] if one["slice"] == "s"]
        assert {one["value"]: one["rows"] for one in found} == dict.fromkeys(
            values, 400 // len(values)
        )

    return check


# --- folders
# ---------------------------------------------------------------------------------------

DAYS = {"2024-01-01": 3, "2024-01-02": 2, "__HIVE_DEFAULT_PARTITION__": 1, "a%2Fb %25": 1}


def by_day(folder: Path) -> None:
    """A data set as Spark writes it: folders of a column, marks and sums beside."""
    start = 0
    for day, rows in DAYS.items():
        part = pairs(7).slice(start, rows)
        write(folder / "in" / f"day={day}" / "part-0.snappy.parquet", part)
        (folder / "in" / f"day={day}" / ".part-0.snappy.parquet.crc").write_bytes(b"crc")
        start += rows
    (folder / "in" / "_SUCCESS").touch()
    write(folder / "in" / "_temporary" / "0" / "part-9.parquet", pairs(9))


def days_come_through(folder: Path, _: str) -> None:
    """The folders are the same, and every engine finds the column in the same place."""
    rows = [tuple(row.values()) for row in pairs(7).to_pylist()]
    assert query("select id, sentence1, sentence2 from OUT order by id", folder) == rows
    found = {path.parent.name for path in (folder / "out").glob("day=*/*.parquet")}
    assert found == {f"day={day}" for day in DAYS}
    expected = [("2024-01-01",)] * 3 + [("2024-01-02",)] * 2 + [(None,), ("a/b %",)]
    assert query("select day from OUT order by id", folder) == expected
    table = ds.dataset(folder / "out", partitioning="hive").to_table().sort_by("id")
    assert table["day"].to_pylist() == [day for (day,) in expected]


def one_day_comes_through(folder: Path, _: str) -> None:
    assert query("select distinct day::text from OUT", folder) == [("2024-01-01",)]
    assert query("select count(*) from OUT", folder) == [(3,)]


def by_hour(folder: Path) -> None:
    for hour in (3, 11):
        write(folder / "in" / "day=2024-01-01" / f"hour={hour:02}" / "x" / "a.parquet", pairs(1))
        write(folder / "in" / "day=2024-01-01" / f"hour={hour:02}" / "a.parquet", pairs(2))


def hours_are_in_the_files(folder: Path, _: str) -> None:
    """`hour` is a column of the files in its type and no folder any more; `day` still is one."""
    names = sorted(
        str(path.relative_to(folder / "out")) for path in (folder / "out").rglob("*.parquet")
    )
    assert names == [
        f"day=2024-01-01/hour-{hour}__a-00000-of-00001.parquet" for hour in ("03", "11")
    ]
    schema = pq.ParquetFile(folder / "out" / names[0]).schema_arrow
    assert (schema.names[3], schema.field("hour").type) == ("hour", pa.int32())
    assert query("select hour, count(*) from OUT group by 1 order by 1", folder) == [
        (3, 2),
        (11, 2),
    ]
    assert len(pd.read_parquet(folder / "out")) == 4


def judged_by_day(folder: Path) -> None:
    for day in ("1", "2"):
        write(folder / "in" / f"s={day}" / "a.parquet", CLASSED.slice(200 * int(day) - 200, 200))


def labels_in_folders(folder: Path) -> None:
    table = CLASSED.drop_columns(["label"])
    for label in (0, 1):
        mask = pa.array(np.asarray(CLASSED["label"]) == label)
        write(folder / "in" / f"label={label}" / "a.parquet", table.filter(mask))


def dask_folders(folder: Path) -> None:
    for part in range(3):
        write(folder / "in" / "pairs.parquet" / f"part.{part}.parquet", pairs(6).slice(2 * part, 2))
    (folder / "in" / "pairs.parquet" / "_metadata").write_bytes(b"PAR1")
    write(folder / "in" / "more.parquet", pairs(6))


def reads(rows: int, *names: str) -> Callable[[Path, str], None]:
    def check(folder: Path, _: str) -> None:
        assert query("select count(*) from OUT", folder) == [(rows,)]
        assert sorted(path.name for path in (folder / "out").glob("*.parquet")) == sorted(names)

    return check


def hidden_alone(folder: Path) -> None:
    write(folder / "in" / "_old" / "a.parquet", pairs(1))
    write(folder / "in" / ".a.parquet", pairs(1))


def linked_twice(folder: Path) -> None:
    write(folder / "data" / "a.parquet", pairs(3))
    (folder / "in").symlink_to(folder / "data")
    (folder / "data" / "loop").symlink_to(folder / "data")


def of_days(*names: str, rows: int = 2) -> Callable[[Path], None]:
    """A file in each of these folders."""

    def make(folder: Path) -> None:
        for name in names:
            write(folder / "in" / name / "a.parquet", pairs(rows))

    return make


def is_there(*names: str) -> Callable[[Path, str], None]:
    """The output has these folders, each with a file of two rows."""

    def check(folder: Path, _: str) -> None:
        found = {
            str(p.parent.relative_to(folder / "out"))
            for p in (folder / "out").rglob("*-of-*.parquet")
        }
        assert found == set(names)
        assert query("select count(*) from OUT", folder) == [(2 * len(names),)]

    return check


LONG = "day=" + "x" * 190, "a=" + "y" * 150 + "/b=" + "z" * 150
NULL_LISTS = pa.array([[1.0, 2.0], None], pa.list_(pa.float32(), 2))
SCORE_FOLDER = SCORE.replace("/in/*.parquet", "/in")
EVALUATE_FOLDER = EVALUATE.replace("/in/*.parquet", "/in")
SLICE = EVALUATE + " --slice_column s"

CONVERT = "convert --output {}/out.parquet --input {}/"


def text_file(name: str, text: str, encoding: str = "utf-8") -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(text.encode(encoding))


def converts(*rows: tuple) -> Callable[[Path, str], None]:
    def check(folder: Path, _: str) -> None:
        found = duckdb.sql(f"select * from read_parquet('{folder}/out.parquet')").fetchall()
        assert found == list(rows)

    return check


def printed(*parts: str) -> Callable[[Path, str], None]:
    def check(folder: Path, printed: str) -> None:
        assert all(part in printed for part in parts), printed
        assert "Traceback" not in printed and not (folder / "out.parquet").exists()

    return check


CASES: dict[str, Case] = {
    "INT96 outside the years of nanoseconds": Case(one_file(pairs(4, t=times()), **INT96), SCORE, out_is_in_microseconds),
    "INT96 inside the years of nanoseconds": Case(one_file(pairs(3, t=times("ns", [0, 10**18, None])), **INT96), SCORE, out_is_in_microseconds),
    "INT96 in UTC": Case(one_file(pairs(4, t=pa.array(FAR, pa.timestamp("us", "UTC"))), **INT96), SCORE, out_is_in_microseconds),
    "INT96 inside lists, structs and maps": Case(one_file(nested_times(), **INT96), SCORE, nested_times_come_out),
    "INT96 with nanoseconds": Case(one_file(pairs(3, t=nanoseconds(1_700_000_000_000_000_001)), **INT96), SCORE, says("'t' (INT96) holds nanoseconds", "--int96 ns"), 2),
    "INT96 with nanoseconds, kept": Case(one_file(pairs(3, t=nanoseconds(1_700_000_000_000_000_001)), **INT96), SCORE + " --int96 ns", nanoseconds_come_out),
    "INT96 that nanoseconds cannot hold": Case(one_file(pairs(4, t=times()), **INT96), SCORE + " --int96 ns", says("'t' (INT96) holds times before 1677", "--int96 us"), 2),
    "Spark's schema in the footer": Case(one_file(of_spark(), **INT96), SCORE, spark_sees_our_columns),
    "Spark's schema, but it is none": Case(one_file(with_keys(org__apache__spark__sql__parquet__row__metadata="{", mine="kept")), SCORE, other_schemas_are_gone),
    "schemas of Avro and Iceberg in the footer": Case(one_file(with_keys(parquet__avro__schema="{}", iceberg__schema="{}", mine="kept")), SCORE, other_schemas_are_gone),
    "ENUM": Case(as_enum, SCORE, same_bytes("mood ENUM")),
    "INTERVAL": Case(by_duckdb("interval (i) month as iv"), SCORE, same_bytes("iv INTERVAL")),
    "VARIANT": Case(by_duckdb("i::variant as v"), SCORE, reports("v VARIANT")),
    "times of day in UTC": Case(by_duckdb("'01:02:03+00'::timetz as t"), SCORE, reports_nothing),
    "times of day in UTC and elsewhere": Case(by_duckdb("'01:02:03+00'::timetz as t, '01:02:03'::time as u"), SCORE, reports("t TIME in UTC")),
    "GEOMETRY": Case(by_duckdb("'POINT(1 2)'::geometry as g", geoparquet_version="V2"), SCORE, reports_nothing),
    "UUID and JSON": Case(by_duckdb("uuid() as u, '{\"a\": 1}'::json as j, [uuid()] as l"), SCORE, reports_nothing),
    "sentences as JSON": Case(json_sentences, SCORE, reports_nothing),
    "a struct before the scores of numbers": Case(one_file(NUMBERS.add_column(0, "tr", NESTED)), REGRESSION, as_without_the_struct),
    "a map before scores beyond 1": Case(beyond_one(), REGRESSION, is_perfect),
    "scores beyond 1 without statistics": Case(beyond_one(write_statistics=False), REGRESSION, is_perfect),
    "string_view sentences": Case(one_file(with_type("sentence1", pa.string_view())), EVALUATE, all_judged),
    "string_view label": Case(one_file(with_type("label", pa.string_view())), EVALUATE, all_judged),
    "string_view slices": Case(sliced(pa.string_view(), "x"), SLICE, has_slices("x", "(null)")),
    "labels as bytes": Case(one_file(with_type("label", pa.binary())), EVALUATE, all_judged),
    "labels as text": Case(one_file(with_type("label", pa.large_string())), EVALUATE, all_judged),
    "similarity as text": Case(one_file(with_type("similarity", pa.string())), EVALUATE, refuses("'similarity' is string, expected numbers"), 2),
    "slices by m²": Case(sliced(pa.string(), "m²"), SLICE, has_slices("m²", "(null)")),
    "slices that are not UTF-8": Case(sliced(pa.binary(), b"\xff"), SLICE, has_slices("(not UTF-8)", "(null)")),
    "slices by a date": Case(sliced(pa.date32(), 1), SLICE, has_slices("1970-01-02", "(null)")),
    "slices by a decimal": Case(sliced(pa.decimal128(5, 2), Decimal("1.50")), SLICE, has_slices("1.50", "(null)")),
    "slices by a time in a zone that nobody knows": Case(sliced(pa.timestamp("us", "Mars/Olympus"), 1), SLICE, has_slices("1970-01-01 00:00:00.000001Z", "(null)")),
    "slices by a list": Case(sliced(pa.list_(pa.int32()), [1]), SLICE, refuses("'s' is list<element: int32>", "--slice_column"), 2),
    "slices by a struct": Case(sliced(pa.struct([("a", pa.int8())]), {"a": 1}), SLICE, refuses("'s' is struct<", "--slice_column"), 2),
    "slices by a map": Case(sliced(pa.map_(pa.string(), pa.int8()), [("a", 1)]), SLICE, refuses("'s' is map<", "--slice_column"), 2),
    "slices by a UUID": Case(uuids, SLICE, refuses("'s' is extension<arrow.uuid>", "--slice_column"), 2),
    "slices by an interval": Case(sliced(pa.binary(12), bytes(12)), SLICE, refuses("'s' is fixed_size_binary[12]", "--slice_column"), 2),
    "a data set of days": Case(by_day, SCORE_FOLDER, days_come_through),
    "a data set of days by **": Case(by_day, SCORE.replace("/in/*.parquet", "/in/**"), days_come_through),
    "a data set of days by */*": Case(by_day, SCORE.replace("/in/*.parquet", "/in/*/*.parquet"), days_come_through),
    "a data set of days by *": Case(by_day, SCORE.replace("/in/*.parquet", "/in/day=*"), days_come_through),
    "one day of a data set": Case(by_day, SCORE.replace("/in/*.parquet", "/in/day=2024-01-01"), one_day_comes_through),
    "one day of a data set by *": Case(by_day, SCORE.replace("/in/*.parquet", "/in/day=2024-01-01/*.parquet"), one_day_comes_through),
    "one file of a day": Case(by_day, SCORE.replace("/in/*.parquet", "/in/day=2024-01-01/part-0.snappy.parquet"), one_day_comes_through),
    "hours with a type": Case(by_hour, SCORE.replace("/in/*.parquet", "/in/*/*/*.parquet") + " --partition_columns hour=int32", hours_are_in_the_files),
    "hours with a wrong type": Case(by_hour, SCORE_FOLDER + " --partition_columns day=boolean", refuses("'day=2024-01-01' is not of type boolean", "--partition_columns day=text"), 2),
    "slices by partitions": Case(judged_by_day, EVALUATE_FOLDER + " --slice_column s", has_slices("1", "2")),
    "labels in folders": Case(labels_in_folders, EVALUATE_FOLDER, all_judged),
    "a folder named like a file": Case(dask_folders, SCORE, reads(12, "more-00000-of-00001.parquet", *(f"pairs.parquet__part.{n}-00000-of-00001.parquet" for n in range(3)))),
    "a folder named like a file, by name": Case(dask_folders, SCORE.replace("/in/*.parquet", "/in/pairs.parquet"), reads(6, *(f"part.{n}-00000-of-00001.parquet" for n in range(3)))),
    "a folder of hidden files": Case(hidden_alone, SCORE_FOLDER, refuses("matches no file", "begin with _ or ."), 2),
    "a pattern that matches hidden files alone": Case(hidden_alone, SCORE, refuses("matches no file", "begin with _ or ."), 2),
    "a hidden file by its name": Case(hidden_alone, SCORE.replace("*.parquet", ".a.parquet"), reads(1, "a-00000-of-00001.parquet")),
    "links to a folder, and in a circle": Case(linked_twice, SCORE_FOLDER + " --input {}/data/a.parquet", reads(3, "a-00000-of-00001.parquet")),
    "slices by a duration": Case(sliced(pa.duration("s"), timedelta(1)), SLICE, refuses("'s' is duration[s]", "--slice_column"), 2),
    "values of partitions that are long": Case(of_days(*LONG), SCORE_FOLDER, is_there(*LONG)),
    "values of partitions that are empty, or hold signs": Case(of_days("day=", "day=a=b", "day=[1]", "day=*", "day=%ZZ", "day=.."), SCORE_FOLDER, is_there("day=", "day=a=b", "day=[1]", "day=*", "day=%ZZ", "day=..")),
    "a partition column that begins with _": Case(of_days("_day=1", "_day=2"), SCORE_FOLDER, is_there("_day=1", "_day=2")),
    "partitions of several depths": Case(of_days("day=1", "day=1/hour=2", "."), SCORE_FOLDER, is_there("day=1", "day=1/hour=2", ".")),
    "a partition column that is not there": Case(of_days("day=1"), SCORE_FOLDER + " --partition_columns dag=int32", refuses("--partition_columns dag", "there are day"), 2),
    "lists of fixed size that are null": Case(one_file(pairs(2, v=NULL_LISTS)), SCORE, says("a list of fixed size that is null"), 1),
    # --- text files ---
    "JSON Lines: text stays text": Case(text_file("p.jsonl", '{"sentence1": "2024-01-01", "sentence2": "x", "label": 1.0, "n": 12345678901234567890}\n'), CONVERT + "p.jsonl", converts(("2024-01-01", "x", "1.0", "12345678901234567890"))),
    "JSON Lines: a key seen late": Case(text_file("p.jsonl", '{"sentence1": "a", "sentence2": "b"}\n' * 20_001 + '{"sentence1": "a", "sentence2": "b", "label": 1, "note": "N"}\n'), CONVERT + "p.jsonl", converts(*[("a", "b", None, None)] * 20_001, ("a", "b", "1", "N"))),
    "a stray quote in CSV": Case(text_file("p.csv", 'sentence1,sentence2,label\n' + "a,b,1\n" * 40 + '"a,b,1\n' + "c,d,0\n" * 40 + '"a,b,1\n'), CONVERT + "p.csv", converts(*[("a", "b", "1")] * 40, *[("c", "d", "0")] * 40)),
    "a stray quote in TSV": Case(text_file("p.tsv", 'sentence1\tsentence2\tlabel\n"a\tb\t1\nc\td\t0\n'), CONVERT + "p.tsv", converts(('"a', "b", "1"), ("c", "d", "0"))),
    "UTF-16 of Excel": Case(text_file("p.txt", "sentence1\tsentence2\tlabel\n你好\t您好\t1\n", "utf-16"), CONVERT + "p.txt", converts(("你好", "您好", "1"))),
    "GB18030 in the header": Case(text_file("p.csv", "编号,问题1,问题2\n1,你好,您好\n", "gb18030"), CONVERT + "p.csv", printed("most likely gb18030; give --encoding gb18030"), 2),
    "GB18030 in the rows": Case(text_file("p.tsv", "sentence1\tsentence2\tlabel\n你好\t您好\t1\n", "gb18030"), CONVERT + "p.tsv", printed("not UTF-8 (1, the first at", "p.tsv:2", "give --encoding gb18030"), 2),
    "GB18030 that was named": Case(text_file("p.csv", "sentence1,sentence2,label\n你好,您好,1\n", "gb18030"), CONVERT + "p.csv --encoding gb18030", converts(("你好", "您好", "1"))),
    "a ragged line that is not UTF-8": Case(text_file("p.tsv", "sentence1\tsentence2\tlabel\n" + "a\tb\t1\n" * 60 + "é\tb\n", "latin-1"), CONVERT + "p.tsv", converts(*[("a", "b", "1")] * 60)),
    "a JSON array": Case(text_file("p.json", '[{"sentence1": "a", "sentence2": "b", "label": 1},\n {"sentence1": "c", "sentence2": "d", "label": 0}]'), CONVERT + "p.json", converts(("a", "b", "1"), ("c", "d", "0"))),
    "a JSON array called .csv": Case(text_file("p.csv", '[{"sentence1": "a", "sentence2": "b", "label": 1}]'), CONVERT + "p.csv", printed("contains JSON", "--format jsonl"), 2),
    "JSON Lines called .csv": Case(text_file("p.csv", '{"sentence1": "a", "sentence2": "b", "label": 1}\n'), CONVERT + "p.csv", printed("contains JSON", "--format jsonl"), 2),
    "JSON Lines called .csv, named": Case(text_file("p.csv", '{"sentence1": "a", "sentence2": "b", "label": 1}\n'), CONVERT + "p.csv --format jsonl", converts(("a", "b", "1"))),
    "a null character in a sentence": Case(text_file("p.csv", "sentence1,sentence2,label\na\0b,c,1\n"), CONVERT + "p.csv", converts(("a\0b", "c", "1"))),
    "tabs in a .csv": Case(text_file("p.csv", "sentence1\tsentence2\tlabel\na\tb\t1\n"), CONVERT + "p.csv", printed(r"separated by '\t': give --delimiter '\t'"), 2),
    "a delimiter as it is typed": Case(text_file("p.csv", "sentence1\tsentence2\tlabel\na\tb\t1\n"), CONVERT + r"p.csv --delimiter '\t'", converts(("a", "b", "1"))),
    "a delimiter of several characters": Case(text_file("p.txt", "sentence1 ||| sentence2 ||| label\na|b ||| c ||| 1\n"), CONVERT + "p.txt --delimiter ' ||| '", converts(("a|b", "c", "1"))),
    "Excel's sep=": Case(text_file("p.csv", "sep=;\r\nsentence1;sentence2;label\r\na;b;1\r\n"), CONVERT + "p.csv", converts(("a", "b", "1"))),
    "Spark's backslashes": Case(text_file("p.csv", 'sentence1,sentence2,label\n"he said \\"hi\\" now",b,1\n'), CONVERT + "p.csv", printed("a quote after a backslash", "--escape '\\'"), 1),
    "Spark's backslashes, named": Case(text_file("p.csv", 'sentence1,sentence2,label\n"he said \\"hi\\" now",b,1\n'), CONVERT + "p.csv --escape '\\'", converts(('he said "hi" now', "b", "1"))),
    "a header with no rows": Case(text_file("p.csv", "sentence1,sentence2,label\n"), CONVERT + "p.csv", printed("has a header and no rows"), 2),
    "a zip called .csv": Case(text_file("p.csv", "PK\x03\x04\x14\x00\x00\x00"), CONVERT + "p.csv", printed("is a zip archive; unpack it"), 2),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_foreign_file(tmp_path, capsys, monkeypatch, name):
    monkeypatch.setattr(plan_scores, "BundleScorer", EqualBundle)
    monkeypatch.setattr(evaluate, "write_report", lambda *_, **__: None)  # plots take seconds
    case = CASES[name]
    case.make(tmp_path)
    command, *argv = shlex.split(case.command.replace("{}", str(tmp_path)))
    code = command_line.run_main(lambda: COMMANDS[command](argv))
    out, err = capsys.readouterr()
    assert code == case.code, err
    assert (code == 0) == (not err.startswith("twinbeam: "))
    case.check(tmp_path, out + err)


# --- the files themselves, where they are
# ----------------------------------------------------------

FILES = os.environ.get("TWINBEAM_CASES")  # a folder of files that other engines wrote
NUMBERED = "evaluate --input {cases}/09-regression-range-nested/e_st%d.parquet --output {out} --task regression --label_range 0 5"
SLICED = "evaluate --input {cases}/11-slice-by-nested/scored.parquet --output {out} --slice_column "
GIVEN: dict[str, tuple[str, int, str]] = {
    "01": ("score --input {cases}/01-spark-row-metadata/pairs.parquet --output {out}", 0, "40 scored"),
    "02": ("score --input {cases}/02-int96-out-of-ns/int96.parquet --output {out}", 0, "rows in"),
    "09": (NUMBERED % 3, 0, "spearman                0.0986"),
    "09 flat": (NUMBERED % 0, 0, "spearman                0.0986"),
    "10": ("evaluate --input {cases}/10-string-view-evaluate/e_svs.parquet --output {out}", 0, "60 rows judged"),
    **{f"11 {name}": (SLICED + name, 2, f"column {name!r} is ") for name in ("arr", "tr", "m", "u", "iv")},
    "12": ("score --input {cases}/12-logical-types-lost/duck.parquet --output {out}", 0, "note: iv INTERVAL"),
    "17": ("score --input {cases}/17-hive-partitions/spark_in --output {out}", 0, "40 scored"),
    "18": ("score --input {cases}/18-dataset-folder-named-parquet/dirp/*.parquet --output {out}", 0, "60 scored"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(not FILES, reason="TWINBEAM_CASES names no folder")
@pytest.mark.parametrize("name", GIVEN)
def test_a_file_that_was_given(tmp_path, capsys, monkeypatch, name):
    monkeypatch.setattr(plan_scores, "BundleScorer", EqualBundle)
    monkeypatch.setattr(evaluate, "write_report", lambda *_, **__: None)
    line, code, part = GIVEN[name]
    command, *argv = shlex.split(line.format(cases=FILES, out=tmp_path / "out"))
    argv += ["--model", "bundle"] if command == "score" else []
    assert command_line.run_main(lambda: COMMANDS[command](argv)) == code
    printed = "".join(capsys.readouterr())
    assert part in printed
