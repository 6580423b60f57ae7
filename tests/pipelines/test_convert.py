from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipelines import convert
from transforms.errors import RunError, UserError
from transforms.input import text_tables


def converted(tmp_path: Path, name: str, content: str | bytes, *flags: str) -> list[tuple]:
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    output = str(tmp_path / "pairs.parquet")
    convert.run(["--input", str(tmp_path / name), "--output", output, *flags])
    assert not (tmp_path / "_tmp").exists()
    return [tuple(row.values()) for row in pq.read_table(output).to_pylist()]


def rejects(tmp_path: Path) -> list[dict]:
    lines = (tmp_path / "pairs.parquet.rejects.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_csv_with_header_and_quotes(tmp_path: Path):
    text = 'id,sentence1,sentence2,label\n007,"how, then?","two\nlines",1\n8,a,"say ""b""",0\n'

    assert converted(tmp_path, "pairs.csv", text) == [
        ("how, then?", "two\nlines", "1", "007"),
        ("a", 'say "b"', "0", "8"),
    ]


def test_columns_by_number_without_header_or_quotes(tmp_path: Path):
    rows = converted(
        tmp_path, "pairs.tsv", 'x\the said "hi\ty\n', "--no_header", "--no_quotes",
        "--sentence1_column", "2", "--sentence2_column", "3", "--no_label",
    )  # fmt: skip

    assert rows == [('he said "hi', "y", "x")]
    assert pq.read_schema(tmp_path / "pairs.parquet").names == [
        "sentence1", "sentence2", "column_1",
    ]  # fmt: skip


def test_labels_are_mapped_and_those_without_a_counterpart_kept_apart(tmp_path: Path):
    rows = converted(
        tmp_path, "pairs.csv", "sentence1,sentence2,label\na,b,same\nc,d, other\ne,f,?\n",
        "--label_map", "same=1", "other=0", "--max_reject_fraction", "0.5",
    )  # fmt: skip

    assert rows == [("a", "b", 1), ("c", "d", 0)]
    assert rejects(tmp_path)[0]["reason"] == "label '?' is not in --label_map"


def test_json_lines(tmp_path: Path):
    lines = ['{"q1": "a", "q2": "b", "label": 1}', "not json", "",
             '{"q1": "好", "q2": null, "label": 0, "extra": [1]}', "[1]"]  # fmt: skip
    rows = converted(
        tmp_path, "pairs.jsonl.gz", gzip.compress("\n".join(lines).encode()), "--sentence1_column",
        "q1", "--sentence2_column", "q2", "--max_reject_fraction", "0.6",
    )  # fmt: skip

    assert rows == [("a", "b", "1", None), ("好", None, "0", "[1]")]
    assert [(bad["line"], bad["text"]) for bad in rejects(tmp_path)] == [
        (2, "not json"),
        (5, "[1]"),
    ]


def test_json_lines_that_arrow_reads_whole(tmp_path: Path):
    lines = "".join(f'{{"sentence1": "a{n}", "sentence2": "b", "label": {n}}}\n' for n in range(3))

    assert converted(tmp_path, "p.jsonl", lines)[2] == ("a2", "b", "2")


def test_bad_lines_are_kept(tmp_path: Path):
    text = b"sentence1,sentence2,label\na,b,1\nonly one\nc,d,1,2\n\xff,e,0\nf,g,0\n"
    rows = converted(tmp_path, "pairs.csv", text, "--max_reject_fraction", "0.7")

    assert rows == [("a", "b", "1"), ("f", "g", "0")]
    assert {bad["reason"] for bad in rejects(tmp_path)} == {
        "1 columns, expected 3", "4 columns, expected 3", "not UTF-8",
    }  # fmt: skip


def test_too_many_bad_lines_write_nothing_but_them(tmp_path: Path):
    with pytest.raises(RunError, match="1 of 2 lines are bad"):
        converted(tmp_path, "pairs.csv", "sentence1,sentence2,label\na,b,1\nc\n")

    assert not (tmp_path / "pairs.parquet").exists()
    assert rejects(tmp_path)[0]["text"] == "c"


@pytest.mark.parametrize("block", [64, 1 << 20])
def test_blocks_do_not_show(tmp_path: Path, monkeypatch, block: int):
    monkeypatch.setattr(text_tables, "BLOCK_BYTES", block)
    text = "sentence1,sentence2,label\n" + "".join(f"a{n},bbbb,{n}\n" for n in range(300))

    rows = converted(tmp_path, "pairs.csv", text)

    assert [row[0] for row in rows] == [f"a{n}" for n in range(300)]


@pytest.mark.parametrize(
    ("name", "text", "flags", "said"),
    [
        ("p.csv", "a,b,c\n1,2,3\n", [], "no column 'sentence1'.*number from 1 to 3"),
        ("p.xyz", "a", [], "--format"),
        ("p.csv", "", [], "is empty"),
        ("p.csv", "x,x\n1,2\n", [], "there twice"),
        ("p.csv", "q,sentence2,label,sentence1\n1,2,3,4\n", ["--sentence1_column", "q"], "besides"),
        ("p.csv", "a\n1\n", ["--label_map", "x"], "FROM=TO"),
    ],
)
def test_mistakes_are_reported(tmp_path: Path, name: str, text: str, flags: list[str], said: str):
    with pytest.raises(UserError, match=said):
        converted(tmp_path, name, text, *flags)


def test_nothing_is_written_over(tmp_path: Path):
    text = "sentence1,sentence2,label\na,b,1\n"
    converted(tmp_path, "pairs.csv", text)

    with pytest.raises(UserError, match="--overwrite"):
        converted(tmp_path, "pairs.csv", text)
    assert converted(tmp_path, "pairs.csv", text, "--overwrite") == [("a", "b", "1")]
