"""Every kind of bad and odd input: what becomes of its rows, its file, or the run.

The cases stand in three tables. ROWS and FILES are usable files, with what becomes of each row;
they go through the command together, in one run. BAD_FILES cannot be used: they stop a run before
it starts, or are left out by choice. REFUSALS are runs that must not start.
"""
# ruff: noqa: E501 (tables)

from __future__ import annotations

import gzip
import json
import os
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
import pytest

from pipelines.scoring import plan_scores
from tests.scoring_kit import EqualBundle, exit_code, pairs, read_parts, run_score, write

NULL, BLANK = "sentence_null", "sentence_blank"
NOT_UTF8, LONG = "sentence_not_utf8", "sentence_too_long"
OK = None

# name → rows of (sentence1, sentence2, what becomes of it)
ROWS: dict[str, list[tuple[str | None, str | None, str | None]]] = {
    "null first": [(None, "b", NULL), ("a", "b", OK)],
    "null second": [("a", None, NULL)],
    "null both": [(None, None, NULL)],
    "null beside a blank one": [("", None, BLANK)],
    "empty": [("", "b", BLANK), ("a", "", BLANK)],
    "white space": [(" \t\r\n", "b", BLANK), ("\u3000\u00a0\u2028", "b", BLANK)],
    "control characters alone": [("\x00\x08\x7f", "b", BLANK), ("\u200b\ufeff\u200f", "b", BLANK)],
    "control characters inside": [("什么\x08意思", "b", OK), ("a\x00b", "a\x00b", OK)],
    "outside every vocabulary": [("ꙮ𐎀ꙮ", "ꙮ𐎀ꙮ", OK)],
    "punctuation alone": [("???", "。", OK)],
    "emoji": [("👩‍👩‍👧‍👦", "🇩🇪🏳️‍🌈", OK)],
    "right to left": [("مرحبا بالعالم", "\u202eשלום", OK)],
    "combining marks": [("e\u0301 n\u0303" + "\u0300" * 500, "é ñ", OK), ("\u0301", "b", OK)],
    "full-width forms": [("ＡＢＣ１２３", "ABC123", OK)],
    "line breaks and a byte order mark": [("\ufeffa\r\nb", "a\nb", OK)],
    "text that looks like something else": [("NULL", "nan", OK), ("'; DROP TABLE--", "{}%s", OK)],
    "noncharacters and private use": [("\U0010ffff", "\ue000", OK)],
    "just short enough": [("x" * 10_000, "é" * 10_000, OK), ("😀" * 10_000, "b", OK)],
    "one character too long": [("x" * 10_001, "b", LONG), ("a", "😀" * 10_001, LONG)],
    "a megabyte": [("x" * (1 << 20), "b", LONG), ("a", "b", OK)],
    "50 megabytes": [("a", "字" * (50 << 20 // 3), LONG), ("a", "b", OK)],
}  # fmt: skip
ROWS["50 megabytes"][0] = ("a", "x" * (50 << 20), LONG)

INVALID = [b"\xff\xfe", b"\xed\xa0\x80", b"\xc0\x80", b"\xf0\x9f\x98", b"caf\xe9"]


def invalid_utf8(kind: pa.DataType) -> pa.Table:
    """Broken bytes: not UTF-8, a lone surrogate, an overlong NUL, a cut emoji, Latin-1."""
    raw = pa.array([*INVALID, b"good"], pa.large_binary() if "large" in str(kind) else pa.binary())
    column = raw.cast(kind) if "view" in str(kind) else raw.view(kind)
    return pa.table({"sentence1": column, "sentence2": ["b"] * len(raw)})


def with_type(kind: pa.DataType) -> pa.Table:
    """Both sentences in a column type of their own."""
    texts = pa.array(["same", "one", None, "", "字"]), pa.array(["same", "two", "b", "b", "字"])
    columns = [text.dictionary_encode() if kind is None else text.cast(kind) for text in texts]
    return pa.table(dict(zip(("sentence1", "sentence2"), columns, strict=True)))


def dictionary_of_odd_values() -> pa.Table:
    values = pa.DictionaryArray.from_arrays(pa.array([0, 1, None]), pa.array(["same", ""]))
    return pa.table({"sentence1": values, "sentence2": ["same", "b", "c"]})


def beside(values: list, kind: pa.DataType) -> pa.Table:
    """Four rows with a column beside the sentences, filled up with nulls."""
    return pairs(4, beside=pa.array((values + [None] * 4)[:4], kind))


def odd_schema() -> pa.Table:
    fields = [
        pa.field("sentence2", pa.string(), nullable=False, metadata={"lang": "zh"}),
        pa.field("sentence1", pa.large_string(), nullable=False),
        pa.field("a.b", pa.int8(), metadata={"unit": "%"}),
        pa.field(" 'quoted\" 列", pa.int8()),
    ]
    columns = [["same"] * 3, ["same"] * 3, [1, 2, 3], [1, None, 3]]
    return pa.table(columns, schema=pa.schema(fields, {"made by": "a test", "pandas": "{}"}))


TYPED = [OK, OK, NULL, BLANK, OK]
NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
NESTED = pa.list_(pa.struct([("m", pa.map_(pa.string(), pa.list_(pa.float32())))]))
CODECS = ("none", "snappy", "gzip", "brotli", "zstd", "lz4")

# name → (what makes the table, options of the Parquet writer, what becomes of each row)
FILES: dict[str, tuple[Callable[[], pa.Table], dict, list[str | None]]] = {
    "invalid UTF-8, binary": (lambda: invalid_utf8(pa.binary()), {}, [NOT_UTF8] * 5 + [OK]),
    "invalid UTF-8, string": (lambda: invalid_utf8(pa.string()), {}, [NOT_UTF8] * 5 + [OK]),
    "invalid UTF-8, large": (lambda: invalid_utf8(pa.large_string()), {}, [NOT_UTF8] * 5 + [OK]),
    "type large_string": (lambda: with_type(pa.large_string()), {}, TYPED),
    "type string_view": (lambda: with_type(pa.string_view()), {}, TYPED),
    "type binary": (lambda: with_type(pa.binary()), {}, TYPED),
    "type large_binary": (lambda: with_type(pa.large_binary()), {}, TYPED),
    "type binary_view": (lambda: with_type(pa.binary_view()), {}, TYPED),
    "type dictionary": (lambda: with_type(None), {}, TYPED),
    "type dictionary, odd values": (dictionary_of_odd_values, {}, [OK, BLANK, NULL]),
    "beside list": (lambda: beside([[1], [], [None]], pa.list_(pa.int64())), {}, [OK] * 4),
    "beside large_list": (lambda: beside([["a"], []], pa.large_list(pa.string())), {}, [OK] * 4),
    "beside fixed list": (lambda: beside([[1, 2]] * 4, pa.list_(pa.int8(), 2)), {}, [OK] * 4),
    "beside struct": (lambda: beside([{"x": 1}] * 3, pa.struct([("x", pa.int8())])), {}, [OK] * 4),
    "beside map": (lambda: beside([[("k", 1)]] * 3, pa.map_(pa.string(), pa.int8())), {}, [OK] * 4),
    "beside nested": (lambda: beside([[{"m": [("k", [1.5])]}], []], NESTED), {}, [OK] * 4),
    "beside decimal": (
        lambda: beside([Decimal("1.10")] * 3, pa.decimal128(38, 2)), {}, [OK] * 4),
    "beside decimal256": (
        lambda: beside([Decimal("-1.10")] * 3, pa.decimal256(76, 2)), {}, [OK] * 4),
    "beside timestamp[ns, tz]": (
        lambda: beside([NOW] * 3, pa.timestamp("ns", "Asia/Shanghai")), {}, [OK] * 4),
    "beside timestamp as int96": (
        lambda: beside([NOW.replace(tzinfo=None)] * 3, pa.timestamp("ns")),
        {"use_deprecated_int96_timestamps": True}, [OK] * 4),
    "beside date, time, duration": (
        lambda: pairs(3, d=pa.array([1, 2, None], pa.date32()), t=pa.array([1, 2, 3], pa.time64("ns")),
                      u=pa.array([1, None, 3], pa.duration("us"))), {}, [OK] * 3),
    "beside float NaN and -0": (
        lambda: beside([float("nan"), -0.0, float("inf")], pa.float64()), {}, [OK] * 4),
    "beside half float": (
        lambda: beside(list(np.array([1, 2, 3], np.float16)), pa.float16()), {}, [OK] * 4),
    "beside unsigned": (lambda: beside([2**64 - 1, 0], pa.uint64()), {}, [OK] * 4),
    "beside bool": (lambda: beside([True, False], pa.bool_()), {}, [OK] * 4),
    "beside null": (lambda: beside([None] * 4, pa.null()), {}, [OK] * 4),
    "beside fixed binary": (lambda: beside([b"ab"] * 3, pa.binary(2)), {}, [OK] * 4),
    "beside uuid": (lambda: beside([b"x" * 16] * 3, pa.uuid()), {}, [OK] * 4),
    "beside 1000 columns": (
        lambda: pairs(3, **{f"column {n}": [n, None, n] for n in range(1000)}), {}, [OK] * 3),
    "not nullable, metadata, odd names, another order": (odd_schema, {}, [OK] * 3),
    "no columns beside": (lambda: pairs(4).drop_columns(["id"]), {}, [OK] * 4),
    "zero rows": (lambda: pairs(0), {}, []),
    "many row groups": (lambda: pairs(50), {"row_group_size": 1}, [OK] * 50),
    "format 1.0": (lambda: pairs(4), {"version": "1.0"}, [OK] * 4),
    "data page 2.0, checksums": (
        lambda: pairs(4), {"data_page_version": "2.0", "write_page_checksum": True}, [OK] * 4),
    "no dictionary, no statistics": (
        lambda: pairs(4), {"use_dictionary": False, "write_statistics": False}, [OK] * 4),
    "no Arrow schema": (lambda: pairs(4), {"store_schema": False}, [OK] * 4),
    **{f"codec {codec}": (lambda: pairs(4), {"compression": codec}, [OK] * 4) for codec in CODECS},
    # The names of files are odd too.
    "name with 100% of.dots": (lambda: pairs(4), {}, [OK] * 4),
    "name with 'single' and \"double\" quotes": (lambda: pairs(4), {}, [OK] * 4),
    "name 名前 🙂 é": (lambda: pairs(4), {}, [OK] * 4),
    "name [with] {brackets} & $HOME; #1": (lambda: pairs(4), {}, [OK] * 4),
    "-name like a flag": (lambda: pairs(4), {}, [OK] * 4),
}  # fmt: skip


def row_table(name: str) -> tuple[pa.Table, list[str | None]]:
    left, right, expected = zip(*ROWS[name], strict=True)
    return pa.table({"sentence1": left, "sentence2": right}).cast(
        pa.schema([("sentence1", pa.string()), ("sentence2", pa.string())])
    ), list(expected)


USABLE = [*ROWS, *FILES]


@pytest.fixture(scope="module", autouse=True)
def equal_bundle():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan_scores, "BundleScorer", EqualBundle)
        yield


@pytest.fixture(scope="module")
def one_run(tmp_path_factory):
    """All usable files through one run of the command."""
    folder = tmp_path_factory.mktemp("odd input")
    for name in ROWS:
        write(folder / "in" / f"{name}.parquet", row_table(name)[0])
    for name, (make, how, _) in FILES.items():
        write(folder / "in" / f"{name}.parquet", make(), **how)
    with pq.ParquetWriter(folder / "in" / "zero row groups.parquet", pairs(0).schema):
        pass
    manifest = run_score(folder / "in" / "*.parquet", folder / "out", "--max_reject_fraction=1")
    return folder, manifest


@pytest.mark.parametrize("name", USABLE)
def test_each_row_is_scored_or_rejected_and_comes_through_unchanged(one_run, name):
    folder, manifest = one_run
    path = folder / "in" / f"{name}.parquet"
    source = pq.read_table(path, coerce_int96_timestamp_unit="us")  # what INT96 is written as
    expected = FILES[name][2] if name in FILES else row_table(name)[1]
    mask = [reason is OK for reason in expected]

    scored = read_parts(folder / "out", name)
    assert_same(scored.select(source.column_names), source, mask)
    assert scored.schema.names[-2:] == ["similarity", "similarity_label"]
    same = [a == b for a, b in zip(*sides(scored), strict=True)]
    assert scored["similarity_label"].to_pylist() == [int(equal) for equal in same]

    reasons = [reason for reason in expected if reason is not OK]
    rejected = read_parts(folder / "out", name, "_rejects")
    assert (rejected is None) == (not reasons)
    if reasons:
        assert rejected["reject_reason"].to_pylist() == reasons
        inverted = [not good for good in mask]
        assert_same(rejected.select(source.column_names), source, inverted)
    files = [file for file in manifest["files"] if file["source"].endswith(f"/{name}.parquet")]
    assert sum(file["rows"] for file in files) == len(expected)


def sides(table: pa.Table) -> list[list]:
    return [as_bits(table[name].cast(pa.large_binary())) for name in ("sentence1", "sentence2")]


def assert_same(found: pa.Table, source: pa.Table, mask: list[bool]) -> None:
    """Same fields and metadata as the source's; the values of its rows in the mask, bit by bit."""
    assert found.schema.equals(source.schema, check_metadata=True)
    for came, went in zip(source.columns, found.columns, strict=True):
        kept = [value for value, keep in zip(as_bits(came), mask, strict=True) if keep]
        assert as_bits(went) == kept


def as_bits(column: pa.ChunkedArray) -> list:
    """Values that are equal only if their bits are: NaN and -0.0 too, and text that is not UTF-8."""
    if "string" in str(column.type) and not pa.types.is_nested(column.type):
        plain = column.cast(pa.large_string()) if "dict" in str(column.type) else column
        return plain.cast(pa.large_binary()).to_pylist()
    values = column.to_pylist()
    return [np.float64(v).tobytes() if isinstance(v, float) else v for v in values]


def test_the_accounts_of_the_whole_run_add_up(one_run):
    folder, manifest = one_run
    expected = Counter(
        reason
        for name in USABLE
        for reason in (FILES[name][2] if name in FILES else row_table(name)[1])
    )
    assert manifest["rows_scored"] == expected.pop(OK)
    assert manifest["rejected_by_reason"] == dict(expected)
    assert manifest["rows_in"] == manifest["rows_scored"] + manifest["rows_rejected"]
    assert read_parts(folder / "out", "zero row groups").num_rows == 0
    assert len(USABLE) >= 60
    details = [read_parts(folder / "out", name, "_rejects") for name in ROWS]
    details_given = {
        d for table in details if table is not None for d in table["reject_detail"].to_pylist()
    }
    assert details_given <= {
        f"sentence{side} {what}"
        for side in (1, 2)
        for what in ("is null", "is blank", "has more than 10000 characters")
    }


# --- files that cannot be used ------------------------------------------------------------------


class PlainKms(pe.KmsClient):
    """Hands keys out as they are."""

    def __init__(self, _):
        super().__init__()

    def wrap_key(self, key_bytes, _):
        return key_bytes.hex()

    def unwrap_key(self, wrapped, _):
        return bytes.fromhex(wrapped)


def encrypted(path: Path, *, plaintext_footer: bool) -> None:
    how = pe.EncryptionConfiguration(
        footer_key="f",
        column_keys={"c": ["sentence1"]},
        plaintext_footer=plaintext_footer,
        double_wrapping=False,
    )
    factory = pe.CryptoFactory(PlainKms)
    properties = factory.file_encryption_properties(pe.KmsConnectionConfig(), how)
    with pq.ParquetWriter(path, pairs(3).schema, encryption_properties=properties) as writer:
        writer.write_table(pairs(3))


def parquet_bytes(table: pa.Table | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table or pairs(200), sink)
    return sink.getvalue().to_pybytes()


def typed(name: str, kind: pa.DataType, values: list) -> Callable[[Path], object]:
    table = pairs(2).set_column(1, name, pa.array(values, kind))
    return lambda path: write(path, table)


def raw(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def bad_name(path: Path) -> None:
    good = parquet_bytes(pairs(2).rename_columns(["idxyz", "sentence1", "sentence2"]))
    path.write_bytes(good.replace(b"idxyz", b"id\xff\xfe\xfd"))


WHOLE = parquet_bytes()
# name → (what makes the file, part of the message)
BAD_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no sentence1": (lambda p: write(p, pairs(2).drop_columns(["sentence1"])), "no column 'sentence1'"),
    "no sentence2": (lambda p: write(p, pairs(2).drop_columns(["sentence2"])), "--sentence2_column"),
    "other case": (lambda p: write(p, pairs(2).rename_columns(["id", "Sentence1", "sentence2"])), "no column"),
    "integers": (typed("sentence1", pa.int64(), [1, 2]), "'sentence1' is int64, expected text"),
    "list of text": (typed("sentence1", pa.list_(pa.string()), [["a"], []]), "is list<"),
    "struct": (typed("sentence1", pa.struct([("a", pa.string())]), [None, None]), "is struct<"),
    "null type": (typed("sentence1", pa.null(), [None, None]), "is null"),
    "dictionary of numbers": (lambda p: write(p, pairs(2).set_column(1, "sentence1", pa.array([1, 2]).dictionary_encode())), "is int64"),
    "fixed binary": (typed("sentence1", pa.binary(2), [b"ab", b"cd"]), "is fixed_size_binary"),
    "duplicate names": (lambda p: write(p, pairs(2).rename_columns(["sentence1"] * 2 + ["sentence2"])), "occurs twice"),
    "duplicate names beside": (lambda p: write(p, pa.table([[1], [2], ["a"], ["b"]], names=["x", "x", "sentence1", "sentence2"])), "'x' occurs twice"),
    "zero bytes": (raw(b""), "0 bytes"),
    "magic alone": (raw(b"PAR1"), "not a complete Parquet file"),
    "magic twice": (raw(b"PAR1PAR1"), "not a complete Parquet file"),
    "truncated": (raw(WHOLE[:-100]), "or was truncated"),
    "beginning cut": (raw(WHOLE[-50:]), "not a complete Parquet file"),
    "footer of noise": (raw(WHOLE[:-200] + b"\xff" * 192 + WHOLE[-8:]), "cannot be read as Parquet"),
    "footer length of a giant": (raw(WHOLE[:-8] + b"\xff\xff\xff\x7f" + b"PAR1"), "not a complete Parquet file"),
    "csv": (raw(b"sentence1,sentence2\na,b\n"), "another kind of file"),
    "json lines": (raw(b'{"sentence1": "a", "sentence2": "b"}\n'), "another kind of file"),
    "gzipped parquet": (raw(gzip.compress(WHOLE)), "another kind of file"),
    "feather": (lambda p: pa.feather.write_feather(pairs(2), str(p)), "another kind of file"),
    "encrypted footer": (lambda p: encrypted(p, plaintext_footer=False), "encrypted footer"),
    "encrypted column": (lambda p: encrypted(p, plaintext_footer=True), "crypt"),
    "name of a column not UTF-8": (bad_name, "cannot be read as Parquet"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_stops_the_run_before_it_starts(tmp_path, capsys, name):
    make, message = BAD_FILES[name]
    write(tmp_path / "in" / "good.parquet", pairs(3))
    bad = tmp_path / "in" / "bad.parquet"
    make(bad)
    assert exit_code(tmp_path / "in" / "*.parquet", tmp_path / "out") == 2
    line = capsys.readouterr().err
    assert line.startswith(f"twinbeam: {bad}") and line.count("\n") == 1 and message in line
    assert not (tmp_path / "out").exists()


def test_bad_files_are_left_out_by_choice_and_named_in_the_manifest(tmp_path, capsys):
    write(tmp_path / "in" / "good.parquet", pairs(3))
    for name, (make, _) in BAD_FILES.items():
        make(tmp_path / "in" / f"{name}.parquet")
    inputs = tmp_path / "in" / "*.parquet"
    manifest = run_score(inputs, tmp_path / "out", "--on_bad_file=reject")
    assert (manifest["rows_in"], manifest["rows_scored"]) == (3, 3)
    rejected = {Path(file["source"]).stem: file["reason"] for file in manifest["files_rejected"]}
    assert rejected.keys() == BAD_FILES.keys()
    for name, reason in rejected.items():
        assert BAD_FILES[name][1] in reason
    assert capsys.readouterr().out.count("left out: ") == len(BAD_FILES)

    # Complete as long as the same files are left out; a mended one is scored, and only that one.
    assert run_score(inputs, tmp_path / "out", "--on_bad_file=reject") == manifest
    write(tmp_path / "in" / "csv.parquet", pairs(5))
    manifest = run_score(inputs, tmp_path / "out", "--on_bad_file=reject")
    assert (manifest["rows_in"], manifest["rows_this_run"]) == (8, 5)
    assert len(manifest["files_rejected"]) == len(BAD_FILES) - 1


def test_a_run_of_bad_files_alone_is_refused(tmp_path, capsys):
    (tmp_path / "bad.parquet").write_bytes(b"")
    assert exit_code(tmp_path / "*.parquet", tmp_path / "out", "--on_bad_file=reject") == 2
    assert "bad.parquet is not a complete Parquet file" in capsys.readouterr().err


# --- runs that must not start -------------------------------------------------------------------


def foreign_output(folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "out" / "thesis.doc").write_text("precious")


def column(name: str) -> Callable[[Path], object]:
    return lambda folder: write(folder / "in" / "a.parquet", pairs(2, **{name: [1, 2]}))


def nothing(_: Path) -> None:
    pass


# name → (what prepares the folder, --input, flags, part of the message)
REFUSALS: dict[str, tuple[Callable[[Path], object], str, list[str], str]] = {
    "a glob that matches nothing": (nothing, "none/*.parquet", [], "matches no file"),
    "a path that is not there": (nothing, "none.parquet", [], "matches no file"),
    "a folder without files": (lambda f: (f / "empty").mkdir(), "empty", [], "matches no file"),
    "a file system that is not there": (nothing, "s4://bucket/x.parquet", [], "cannot be listed"),
    "one column for both": (nothing, "in/*", ["--sentence2_column=sentence1"], "expected two columns"),
    "the similarity's name is taken": (column("similarity"), "in/*", [], "--similarity_column"),
    "the label's name is taken": (column("similarity_label"), "in/*", [], "--similarity_label_column"),
    "reject_reason is taken": (column("reject_reason"), "in/*", [], "rename it or leave it out"),
    "output holds the input": (nothing, "in/*.parquet", ["--output={folder}/in"], "choose another folder"),
    "output above the input": (nothing, "in/*.parquet", ["--output={folder}"], "choose another folder"),
    "output holds the input, with dots": (nothing, "in/*", ["--output={folder}/x/../in/."], "choose another folder"),
    "output is a file": (lambda f: (f / "out").write_text("x"), "in/*", [], "expected a folder"),
    "output holds what is not ours": (foreign_output, "in/*", [], "thesis.doc"),
    "not ours, even with --overwrite": (foreign_output, "in/*", ["--overwrite"], "thesis.doc"),
    "an unknown flag": (nothing, "in/*", ["--no_such_flag=1"], "unknown flag '--no_such_flag=1'"),
    "another bundle than the pinned": (nothing, "in/*", ["--model_sha256=00"], "--model_sha256"),
    "two files of one name": (lambda f: write(f / "in" / "b" / "a.parquet", pairs(2)), "in/b/a.parquet", ["--input={folder}/in/a.parquet"], "different names"),
    "a name too long": (lambda f: write(f / "in" / ("n" * 240 + ".parquet"), pairs(2)), "in/*", [], "shorter name"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_a_run_that_must_not_start(tmp_path, capsys, name):
    prepare, pattern, flags, message = REFUSALS[name]
    write(tmp_path / "in" / "a.parquet", pairs(2))
    prepare(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    inputs = pattern if "://" in pattern else tmp_path / pattern
    given = [flag.format(folder=tmp_path) for flag in flags]
    assert exit_code(inputs, tmp_path / "out", *given) == 2
    line = capsys.readouterr().err
    assert line.startswith("twinbeam: ") and line.count("\n") == 1 and message in line
    assert [path for path in sorted(tmp_path.rglob("*")) if path.name != "x"] == before


@pytest.mark.parametrize(
    "flag",
    ["--max_reject_fraction=2", "--shard_rows=0", "--max_sentence_chars=-1", "--on_bad_file=x"],
)
def test_a_flag_with_an_impossible_value(tmp_path, capsys, flag):
    with pytest.raises(SystemExit) as stopped:
        run_score(tmp_path / "*", tmp_path / "out", flag)
    assert stopped.value.code == 2
    assert flag.partition("=")[0] in capsys.readouterr().err.splitlines()[-1]


# --- what a run does with much of it ------------------------------------------------------------


def test_too_many_rejects_fail_the_run_with_its_accounts_written(tmp_path, capsys):
    table = pairs(20)
    holes = pa.array([None] * 2 + table["sentence1"].to_pylist()[2:])
    write(tmp_path / "in.parquet", table.set_column(1, "sentence1", holes))
    assert exit_code(tmp_path / "in.parquet", tmp_path / "out") == 1
    assert "2 of 20 rows were rejected (2 sentence_null)" in capsys.readouterr().err
    assert not (tmp_path / "out" / "_manifest.json").exists()
    assert not (tmp_path / "out" / "_SUCCESS").exists()
    accounts = json.loads((tmp_path / "out" / "_shards" / "refused.json").read_text())
    assert accounts["rejected_by_reason"] == {"sentence_null": 2}
    assert read_parts(tmp_path / "out", "in", "_rejects").num_rows == 2
    # With the fraction raised nothing is done again, and the run commits.
    manifest = run_score(tmp_path / "in.parquet", tmp_path / "out", "--max_reject_fraction=0.1")
    assert (manifest["rows_scored"], manifest["rows_this_run"]) == (18, 0)
    assert not (tmp_path / "out" / "_shards" / "refused.json").exists()


def test_long_sentences_are_cut_by_choice_and_counted(tmp_path):
    table = pa.table({"sentence1": ["abc", "abcX", "字" * 9], "sentence2": ["abc", "abcY", "b"]})
    write(tmp_path / "in.parquet", table)
    flags = ["--max_sentence_chars=3", "--on_long_sentence=truncate"]
    manifest = run_score(tmp_path / "in.parquet", tmp_path / "out", *flags)
    assert (manifest["rows_scored"], manifest["sentences_truncated"]) == (3, 3)
    scored = read_parts(tmp_path / "out", "in")
    assert scored["similarity"].to_pylist() == [1, 1, 0]  # abcX and abcY agree in their first three
    assert scored.select(table.column_names).equals(table)


def test_files_of_different_schemas_keep_each_its_own(tmp_path):
    first, second = pairs(3), pairs(4, extra=[1, None, 3, 4]).drop_columns(["id"])
    write(tmp_path / "in" / "a.parquet", first)
    write(tmp_path / "in" / "b.parquet", second)
    run_score(tmp_path / "in" / "*.parquet", tmp_path / "out")
    for name, table in (("a", first), ("b", second)):
        assert read_parts(tmp_path / "out", name).select(table.column_names).equals(table)


@pytest.mark.parametrize("folder", ["a b", "100%", "x/../y", "名前", "it's"])
def test_odd_folders(tmp_path, folder):
    (tmp_path / "x").mkdir()
    write(tmp_path / folder / "in.parquet", pairs(3))
    manifest = run_score(tmp_path / folder / "*.parquet", tmp_path / folder / "out")
    assert manifest["rows_scored"] == 3
    assert (tmp_path / folder / "out" / "in-00000-of-00001.parquet").is_file()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to become another user and come back")
def test_files_that_may_not_be_read_and_folders_that_may_not_be_written(tmp_path, capsys):
    """Root may do everything, so the command runs as nobody."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_mode & 0o005 != 0o005 and "pytest" in str(folder):
            folder.chmod(0o755)
    secret, fine = (write(tmp_path / f"{name}.parquet", pairs(3)) for name in ("secret", "fine"))
    secret.chmod(0o600)
    fine.chmod(0o644)
    os.seteuid(65534)
    try:
        assert exit_code(secret, "/tmp/never") == 2
        assert "may not be read: permission denied" in capsys.readouterr().err
        assert exit_code(fine, tmp_path / "out") == 2
        assert "cannot be written to: Permission denied" in capsys.readouterr().err
    finally:
        os.seteuid(0)


@pytest.mark.slow
def test_a_row_group_of_five_million_rows(tmp_path):
    count = 5_000_000
    table = pa.table({"sentence1": pa.array(np.arange(count) % 999).cast(pa.string()),
                      "sentence2": pa.array(np.arange(count) % 998).cast(pa.string())})  # fmt: skip
    write(tmp_path / "in.parquet", table, row_group_size=count)
    manifest = run_score(tmp_path / "in.parquet", tmp_path / "out")
    assert manifest["rows_scored"] == count
    scored = pq.read_table(tmp_path / "out" / "in-00000-of-00001.parquet")
    assert scored.select(table.column_names).equals(table)
