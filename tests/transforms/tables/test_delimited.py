from __future__ import annotations

import csv
import io
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.transforms.tables.kit import read
from transforms.tables import delimited, lines, reading
from transforms.tables.options import TextTable
from transforms.tables.records import AFTER_QUOTE, BACKSLASH, SEVERAL_LINES, UNCLOSED

WORDS = st.text(st.sampled_from(list('ab,;\t"\\ |你好🙂\u2028\x85')), max_size=6)
VALUES = st.text(st.sampled_from(list('ab,;\t"\\ |你\n\r')), max_size=6)
TABLES = st.lists(st.tuples(VALUES, VALUES, VALUES), min_size=1, max_size=8)
RAW = st.text(st.sampled_from(list('ab,\t"\\\n\n\r;')), max_size=60)
TWO = "2 columns, expected 3"
NO_HEADER = {"header": False}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("tables")


def csv_text(rows: list[tuple], **how: object) -> str:
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator="\n", **how).writerows(rows)
    return file.getvalue()


def whole(row: tuple) -> bool:
    """Whether each value is one that a reader of lines can keep: no lone carriage return."""
    return not any("\r" in value for value in row)


@given(TABLES, st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]), st.sampled_from(",;|"))
def test_what_the_csv_module_writes_is_read(folder: Path, rows, quoting: int, delimiter: str):
    rows = [row for row in rows if whole(row)]
    text = csv_text([("x", "y", "z"), *rows], quoting=quoting, delimiter=delimiter)
    found, bad, account, _ = read(folder, "p.csv", text, TextTable(delimiter=delimiter))
    kept = [tuple(row) for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)]
    lost = sum(each.reason == delimited.SWALLOWED for each in bad)

    assert len(bad) == lost  # nothing is bad but what looks like several rows
    assert len(found) + lost == len(kept) - 1
    assert lost or found == kept[1:] == rows
    assert account.rows + account.bad + account.blank + 1 == text.count("\n")


@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=6))
def test_what_pandas_writes_is_read(folder: Path, rows):
    rows = [(f"a{one}", f"b{two}") for one, two in rows if whole((one, two))]
    table = pd.DataFrame(rows, columns=["sentence1", "sentence2"])
    text = table.to_csv(index=False)
    found, bad, _, _ = read(folder, "p.csv", text)
    back = pd.read_csv(io.StringIO(text, newline=""), dtype=str, keep_default_na=False)

    assert found == [*back.itertuples(index=False, name=None)] or bad


@given(st.lists(st.tuples(WORDS, WORDS), max_size=20))
def test_a_tsv_is_its_lines_cut_at_tabs(folder: Path, rows):
    text = "x\ty\n" + "".join("\t".join(row) + "\n" for row in rows)
    found, bad, _, places = read(folder, "p.tsv", text)
    cut = [(place, line) for place, line in enumerate(text.split("\n")[1:-1], 2) if line]
    good = [(place, tuple(line.split("\t"))) for place, line in cut if line.count("\t") == 1]

    assert [row for _, row in good if row != ("x", "y")] == found
    assert [place for place, row in good if row != ("x", "y")] == [line for line, _ in places]
    assert len(found) + len(bad) == len(cut)


@given(RAW, st.booleans(), st.integers(1, 9))
@example('a,"b\nc,d\ne,f"\n', True, 3)
@example('a,b\r\n\r\n"c\r\n,d",e', True, 2)
def test_every_line_is_accounted_for_and_blocks_do_not_show(
    folder: Path, text: str, quotes: bool, size: int
):
    table = TextTable(quotes=quotes, **NO_HEADER)
    with pytest.MonkeyPatch.context() as patch:
        try:
            once = read(folder, "p.csv", text, table)
        except ValueError as error:  # a first record that cannot be read
            assert "line 1" in str(error) or "line" in str(error)
            return
        patch.setattr(reading, "HEAD_BYTES", size)
        patch.setattr("transforms.tables.encodings.PIECE_BYTES", size)
        if "\r" in text.replace("\r\n", "") or "\n" not in text[:size]:
            return  # the first piece decides whether a file's lines end as on an old Mac
        pieces = read(folder, "p.csv", text, table)
    spans = [(bad.line, bad.lines) for bad in once[1]] + once[3]

    assert pieces[0] == once[0] and pieces[1] == once[1]
    assert once[2].rows + once[2].bad + once[2].blank == once[2].total
    covered = [line for first, taken in spans for line in range(first, first + taken)]
    assert len(covered) == len(set(covered))  # no line stands in two rows
    total = text.count("\n") + bool(text.rpartition("\n")[2])
    assert once[2].total == total or "\n" not in text
    assert set(covered) <= set(range(1, once[2].total + 1))


@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=20), st.sampled_from([",", "\t"]))
def test_arrow_gives_the_same_rows_as_the_scanner(folder: Path, rows, delimiter: str):
    text = "".join(delimiter.join(row) + "\n" for row in rows)
    table = TextTable(delimiter=delimiter, quotes=False, **NO_HEADER)
    fast = read(folder, "p.csv", text, table)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delimited.DelimitedReader, "_is_plain", lambda self, text: False)
        slow = read(folder, "p.csv", text, table)

    assert fast[0] == slow[0] and fast[3] == slow[3] and fast[1] == slow[1]
    assert fast[2].doubts == slow[2].doubts


def test_arrow_reads_what_it_can(folder: Path, monkeypatch):
    monkeypatch.setattr(delimited.DelimitedReader, "_scan", None)

    assert read(folder, "p.csv", "x,y\n" + "a,b\n" * 50)[0] == [("a", "b")] * 50


@pytest.mark.parametrize(
    ("text", "rows", "bad"),
    [
        # (line, lines, reason) of the bad ones
        ('x,y\n"a,b\nc,d\n"e",f\n', [("c", "d"), ("e", "f")], [(2, 1, AFTER_QUOTE)]),
        ('x,y\n"a,b\nc,d\n', [("c", "d")], [(2, 1, UNCLOSED)]),
        ('x,y\n"a" b,c\nd,e\n', [("d", "e")], [(2, 1, AFTER_QUOTE)]),
        ('x,y\n"a \\"b\\" c",d\ne,f\n', [("e", "f")], [(2, 1, BACKSLASH)]),
        ('x,y,z\n"a,b,c\nd,e,f\ng",h,i\n', [], [(2, 3, delimited.SWALLOWED)]),
        ('x,y,z\n"a\nb",c\nd,e,f\n', [("d", "e", "f")], [(2, 1, SEVERAL_LINES), (3, 1, TWO)]),
        ("x,y\na,b\nx,y\nc,d\n", [("a", "b"), ("c", "d")], [(3, 1, delimited.HEADER_AGAIN)]),
        ("x,y\n\n\na,b\n\nc\n", [("a", "b")], [(6, 1, "1 columns, expected 2")]),
    ],
)  # fmt: skip
def test_one_bad_quote_costs_no_other_line(folder: Path, text: str, rows: list, bad: list):
    found, kept, _, _ = read(folder, "p.csv", text)

    assert found == rows
    assert [(each.line, each.lines, each.reason) for each in kept] == bad


def test_text_over_several_lines_is_read_and_looked_at(folder: Path):
    text = 'id,x,y\n1,"two\nlines",b\n2,"a, comma\nhere",c\n'
    found, bad, account, places = read(folder, "p.csv", text)

    assert found == [("1", "two\nlines", "b"), ("2", "a, comma\nhere", "c")]
    assert not bad and places == [(2, 2), (4, 2)]
    doubt = account.doubts[delimited.BREAKS_AND_DELIMITERS]
    assert (doubt.rows, doubt.lines, doubt.first) == (1, 2, f"{folder / 'p.csv'}:4")


def test_an_open_quote_is_not_looked_for_without_end(folder: Path, monkeypatch):
    monkeypatch.setattr(delimited, "MOST_RECORD_CHARS", 100)
    monkeypatch.setattr("transforms.tables.encodings.PIECE_BYTES", 50)
    monkeypatch.setattr(reading, "HEAD_BYTES", 50)
    text = 'x,y\n"a,b\n' + "c,d\n" * 100 + 'e,"f"\n'
    found, bad, _, _ = read(folder, "p.csv", text)

    assert len(found) == 101 and [each.line for each in bad] == [2]


def test_an_endless_line_is_a_bad_line(folder: Path, monkeypatch):
    monkeypatch.setattr(lines, "MOST_LINE_CHARS", 1_000)
    monkeypatch.setattr("transforms.tables.encodings.PIECE_BYTES", 300)
    monkeypatch.setattr(reading, "HEAD_BYTES", 300)
    text = "x,y\na,b\n" + "z" * 5_000 + "\nc,d\n" + "w" * 2_000
    found, bad, account, _ = read(folder, "p.csv", text)

    assert found == [("a", "b"), ("c", "d")]
    assert [(each.line, each.reason) for each in bad] == [
        (3, "a line of millions of characters"), (5, "a line of millions of characters"),
    ]  # fmt: skip
    assert account.total == 5 and all(len(each.text) <= 200 for each in bad)


@pytest.mark.parametrize(
    ("delimiter", "text", "rows"),
    [
        (" ||| ", "x ||| y\na|b ||| c\n", [("a|b", "c")]),
        ("::", 'x::y\n"a::b"::c:d\n', [("a::b", "c:d")]),
        ("\x01", "x\x01y\na,b\x01c\n", [("a,b", "c")]),
        ("；", "x；y\na；b\n", [("a", "b")]),
    ],
)
def test_delimiters_of_any_length(folder: Path, delimiter: str, text: str, rows: list):
    assert read(folder, "p.csv", text, TextTable(delimiter=delimiter))[0] == rows


def test_an_escape_is_one_before_a_quote_or_itself_alone(folder: Path):
    text = 'x,y\n"say \\"hi\\", then","C:\\new \\\\ end\\\\"\na\\b,"c""d"\n'
    found = read(folder, "p.csv", text, TextTable(escape="\\"))[0]

    assert found == [('say "hi", then', "C:\\new \\ end\\"), ("a\\b", 'c"d')]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("sep=;\r\nx;y\r\na;b\r\n", [("a", "b")]),
        ('"sep=\t"\nx\ty\na\tb\n', [("a", "b")]),
        (",x,y\n1,a,b\n", [("1", "a", "b")]),
        ("x,y\ra,b\rc,d\r", [("a", "b"), ("c", "d")]),
        ("\n\nx,y\na,b\n", [("a", "b")]),
        ("x,y\na\rb,c\n", [("a\rb", "c")]),
        (f"x,y\na\x00b,{'c' * 99}\n", [("a\x00b", "c" * 99)]),
        ('x,y\r\n"a\r\nb",c\r\n', [("a\r\nb", "c")]),
    ],
)
def test_lines_and_headers_of_other_programs(folder: Path, text: str, rows: list):
    found, bad, _, _ = read(folder, "p.csv", text)

    assert found == rows and not bad
