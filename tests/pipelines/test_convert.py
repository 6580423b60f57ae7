from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipelines import convert
from transforms.errors import RunError, UserError
from transforms.tables import delimited, reading


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


def test_the_same_command_again_does_nothing_and_another_says_what_differs(tmp_path, capsys):
    source, output = tmp_path / "pairs.csv", tmp_path / "pairs.parquet"
    source.write_text("sentence1,sentence2,label\na,b,1\nc\nd,e,0\n")
    argv = ["--input", str(source), "--output", str(output), "--max_reject_fraction", "0.5"]
    first = convert.run(argv)
    written = output.stat().st_mtime_ns
    assert convert.run(argv) == first == {"rows": 2, "rejected": 1, "suspect": 0}
    assert "is complete already" in capsys.readouterr().out
    with pytest.raises(RunError, match=r"1 of its 3 lines.*--max_reject_fraction 0.2 allows"):
        convert.run([*argv[:-1], "0.2"])
    with pytest.raises(UserError, match=r"--label_column label, now none.*--overwrite"):
        convert.run([*argv, "--no_label"])
    assert output.stat().st_mtime_ns == written
    source.write_text("sentence1,sentence2,label\na,b,1\nc\nd,E,0\n")
    with pytest.raises(UserError, match="the inputs have changed"):
        convert.run(argv)
    convert.run([*argv, "--overwrite"])
    assert pq.read_table(output)["sentence2"].to_pylist() == ["b", "E"]
    pq.write_table(pq.read_table(output).replace_schema_metadata(None), output)
    with pytest.raises(UserError, match="exists already"):  # another's file
        convert.run(argv)


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
    bad = rejects(tmp_path)[0]
    assert (bad["line"], bad["reason"]) == (4, "a label that is not in --label_map")
    assert bad["detail"] == "label '?'"


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
    assert [bad["line"] for bad in rejects(tmp_path)] == [3, 4, 5]


def test_too_many_bad_lines_write_nothing_but_them(tmp_path: Path):
    with pytest.raises(RunError, match="1 of 2 lines are bad"):
        converted(tmp_path, "pairs.csv", "sentence1,sentence2,label\na,b,1\nc\n")

    assert not (tmp_path / "pairs.parquet").exists()
    assert rejects(tmp_path)[0]["text"] == "c"


@pytest.mark.parametrize("block", [64, 1 << 20])
def test_blocks_do_not_show(tmp_path: Path, monkeypatch, block: int):
    monkeypatch.setattr("transforms.tables.encodings.PIECE_BYTES", block)
    monkeypatch.setattr(reading, "HEAD_BYTES", block)
    text = "sentence1,sentence2,label\n" + "".join(f"a{n},bbbb,{n}\n" for n in range(300))

    rows = converted(tmp_path, "pairs.csv", text)

    assert [row[0] for row in rows] == [f"a{n}" for n in range(300)]


@pytest.mark.parametrize(
    ("name", "text", "flags", "message"),
    [
        ("p.csv", "a,b,c\n1,2,3\n", [], "no column 'sentence1'.*number from 1 to 3"),
        ("p.xyz", "a", [], "--format"),
        ("p.csv", "", [], "has no text and no rows"),
        ("p.csv", "sentence1,sentence2,label\n", [], "has a header and no rows"),
        ("p.csv", "a;b;c\n1;2;3\n", [], "separated by ';': give --delimiter ';'"),
        ("p.csv", "a\tb\n1\t2\n", [], r"give --delimiter '\\t'"),
        ("p.tsv", '"sentence1"\t"sentence2"\n1\t2\n', [], "in quotes: give --quotes"),
        ("p.csv", "a\n", ["--delimiter", ""], "--delimiter ''"),
        ("p.csv", "a\n", ["--encoding", "utf-99"], "--encoding 'utf-99' is not known"),
        ("p.csv", "a\n", ["--encoding", "base64"], "is not known"),
        ("p.csv", "a\n", ["--escape", "ab"], "--escape 'ab': expected one character"),
        ("p.csv", "a\n", ["--escape", "\\", "--no_quotes"], "--escape is for quoted values"),
        ("p.csv", "a\n", ["--delimiter", '"'], "holds a quote"),
        ("p.csv", 'a,"b\n1,2\n', [], "line 1: a quote that opens"),
        ("p.jsonl", '{"sentence1": "a", "x": 1}\n', [], "no column 'sentence2'"),
        ("p.jsonl", '{"x": "a"}\n', [], "no column 'sentence1'; it has 'x'"),
        ("p.csv", "x,x\n1,2\n", [], "occurs twice"),
        (
            "p.csv",
            "q,sentence2,label,sentence1\n1,2,3,4\n",
            ["--sentence1_column", "q"],
            "beside the one",
        ),
        ("p.csv", "a\n1\n", ["--label_map", "x"], "FROM=TO"),
    ],
)
def test_mistakes_are_reported(
    tmp_path: Path, name: str, text: str, flags: list[str], message: str
):
    with pytest.raises(UserError, match=message):
        converted(tmp_path, name, text, *flags)


def test_nothing_is_written_over(tmp_path: Path):
    text = "sentence1,sentence2,label\na,b,1\n"
    converted(tmp_path, "pairs.csv", text)

    with pytest.raises(UserError, match="--overwrite"):
        converted(tmp_path, "pairs.csv", text, "--no_label")
    assert converted(tmp_path, "pairs.csv", text, "--overwrite") == [("a", "b", "1")]


def test_a_link_stays_and_a_folder_is_no_output(tmp_path: Path):
    real = tmp_path / "disk" / "real.parquet"
    real.parent.mkdir()
    (tmp_path / "pairs.parquet").symlink_to(real)
    text = "sentence1,sentence2,label\na,b,1\n"
    for more in ([], ["--overwrite"]):
        assert converted(tmp_path, "pairs.csv", text, *more) == [("a", "b", "1")]
        assert (tmp_path / "pairs.parquet").is_symlink() and real.is_file()
        assert [path.name for path in real.parent.iterdir()] == ["real.parquet"]
    with pytest.raises(UserError, match="disk is a folder; expected the name of a file"):
        convert.run(["--input", str(tmp_path / "pairs.csv"), "--output", str(real.parent)])


def test_a_key_seen_late_is_a_column_with_nulls_before(tmp_path: Path):
    early = '{"sentence1": "a", "sentence2": "b"}\n' * 20_001
    late = '{"sentence1": "c", "sentence2": "d", "label": 1, "note": "N"}\n'
    rows = converted(tmp_path, "p.jsonl", early + late)

    assert rows[0] == rows[20_000] == ("a", "b", None, None)
    assert rows[20_001:] == [("c", "d", "1", "N")]


def test_files_with_other_keys_are_one_table_but_files_with_other_headers_are_not(tmp_path: Path):
    for name, note in (("a", '"x": 1'), ("b", '"y": 2')):
        line = f'{{"sentence1": "s", "sentence2": "t", "label": 0, {note}}}\n'
        (tmp_path / f"{name}.jsonl").write_text(line)
        (tmp_path / f"{name}.csv").write_text(f"sentence1,sentence2,label,{name}\ns,t,0,1\n")
    output = str(tmp_path / "out.parquet")
    convert.run(["--input", str(tmp_path / "*.jsonl"), "--output", output])

    assert pq.read_table(output).to_pylist() == [
        {"sentence1": "s", "sentence2": "t", "label": "0", "x": "1", "y": None},
        {"sentence1": "s", "sentence2": "t", "label": "0", "x": None, "y": "2"},
    ]
    with pytest.raises(
        UserError, match="b.csv has other columns than the file before it: 'a', 'b'"
    ):
        convert.run(["--input", str(tmp_path / "*.csv"), "--output", output, "--overwrite"])
    assert pq.read_table(output).num_rows == 2 and not (tmp_path / "_tmp").exists()


def test_the_most_common_reason_comes_first_with_a_line_and_without_its_text(tmp_path: Path):
    lines = ["a,b,1", "secret", "c,d,1,2", "e,f,0,9", "g,h,1"]
    with pytest.raises(RunError) as failed:
        converted(tmp_path, "p.csv", "sentence1,sentence2,label\n" + "\n".join(lines))

    message = str(failed.value)
    assert (
        "3 of 5 lines are bad, most of them for this: 4 columns, expected 3 (2, the first"
        in message
    )
    assert f"{tmp_path / 'p.csv'}:4)" in message and "secret" not in message


def test_suspect_values_are_reported_and_refused_above_a_limit(tmp_path: Path, capsys):
    good = "".join(f"{n},a,b\n" for n in range(40))
    text = f'sentence1,sentence2,label\n"one, two\nthree",b,1\n{good}'
    rows = converted(tmp_path, "p.csv", text)

    assert rows[0] == ("one, two\nthree", "b", "1") and len(rows) == 41
    printed = capsys.readouterr().out
    assert f"look at 1 {delimited.BREAKS_AND_DELIMITERS}, the first at" in printed
    assert (
        f"{tmp_path / 'p.csv'}:2; if quotes are plain text in this file, give --no_quotes"
        in printed
    )
    many = text.replace(good, good[: len(good) // 4])
    with pytest.raises(
        RunError, match=r"2 of \d+ lines are in values with line breaks.*--no_quotes"
    ):
        converted(tmp_path, "p.csv", many, "--overwrite")
    assert len(pq.read_table(tmp_path / "pairs.parquet")) == 41  # the one before
    assert len(converted(tmp_path, "p.csv", many, "--overwrite", "--max_suspect_fraction", "1")) > 9


def test_most_lines_in_another_encoding_stop_the_run_and_name_it(tmp_path: Path):
    text = "sentence1,sentence2,label\n你好,您好,1\n".encode("gb18030")
    with pytest.raises(
        UserError, match="1 of 1 lines.*most likely gb18030; give --encoding gb18030"
    ):
        converted(tmp_path, "p.csv", text)

    assert converted(tmp_path, "p.csv", text, "--encoding", "GB18030") == [("你好", "您好", "1")]


def test_a_failed_run_leaves_the_rejects_of_the_one_before(tmp_path: Path):
    converted(tmp_path, "p.csv", "sentence1,sentence2,label\nx\n" + "a,b,1\n" * 30)
    before = rejects(tmp_path)
    with pytest.raises(UserError):
        converted(tmp_path, "q.csv", "nothing,here\nof,it\n", "--overwrite")

    assert rejects(tmp_path) == before
    converted(tmp_path, "p.csv", "sentence1,sentence2,label\na,b,1\n", "--overwrite")
    assert not (tmp_path / "pairs.parquet.rejects.jsonl").exists()


def test_no_heavy_library_is_imported(tmp_path: Path):
    (tmp_path / "p.csv").write_text("sentence1,sentence2,label\na,b,1\n")
    code = (
        "import sys; from pipelines import convert\n"
        f"convert.run(['--input', {str(tmp_path / 'p.csv')!r}, '--output', "
        f"{str(tmp_path / 'o')!r}])\n"
        "heavy = {'apache_beam', 'tensorflow', 'keras', 'google.cloud.storage'}\n"
        "assert not heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=200)


def test_memory_does_not_follow_an_endless_line(tmp_path: Path):
    path, output = tmp_path / "p.jsonl.gz", tmp_path / "o.parquet"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b'{"sentence1": "a", "sentence2": "b", "label": 1}\n{"sentence1": "')
        for _ in range(64):
            file.write(b"a" * (8 << 20))
        file.write(b'\n{"sentence1": "c", "sentence2": "d", "label": 0}\n')
    code = (
        "import re; from pathlib import Path; from pipelines import convert\n"
        f"convert.run(['--input', {str(path)!r}, '--output', {str(output)!r},"
        " '--max_reject_fraction', '0.5'])\n"
        # Not getrusage: that remembers the peak of the process that started this one.
        "print(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=200
    )

    assert int(done.stdout.split()[-1]) < 700_000  # KiB; the line alone is 524,288
    assert pq.read_table(output)["sentence1"].to_pylist() == ["a", "c"]
