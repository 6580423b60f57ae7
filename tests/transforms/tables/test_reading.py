from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.transforms.tables.kit import read
from transforms.errors import RunError, UserError
from transforms.tables.accounts import Account
from transforms.tables.encodings import guess
from transforms.tables.options import TextTable, typed_delimiter

TEXT = "sentence1,sentence2\n你好,您好\n"
ROWS = [("你好", "您好")]
JAPANESE = "日本語の文章を二つ比べて、同じ意味かどうかを調べます。質問はどこで見られますか"
KOREAN = (
    "안녕하세요 결제는 어떻게 하나요 비밀번호를 잊어버렸습니다 "
    "계좌를 해지하고 싶습니다 고객센터 번호"
)


def zipped(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, TEXT)
    return file.getvalue()


def parquet() -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"a": [1]}), file)
    return file.getvalue()


def zstandard(content: bytes) -> bytes:
    return pa.Codec("zstd").compress(content, asbytes=True)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zstandard])
@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
def test_packed_files_are_known_by_their_bytes(tmp_path: Path, pack, ending: str):
    packed = pack(TEXT.encode())

    assert read(tmp_path, f"p.csv{ending}", packed)[0] == ROWS
    assert read(tmp_path, "p.csv", packed + pack(b"c,d\n"))[0] == [*ROWS, ("c", "d")]
    with pytest.raises(UserError, match="p.csv is a .* file that is cut or damaged"):
        read(tmp_path, "p.csv", packed[:-6])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zipped("pairs.csv"), "a zip archive; unpack it"),
        (zipped("[Content_Types].xml", "xl/workbook.xml"), "an Excel workbook; save it as"),
        (parquet(), "a Parquet file"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel"),
        (b"<!DOCTYPE html><html>", "an HTML or XML page"),
        (b"\x80\x04\x95", "a Python pickle, which is never opened"),
        (bytes(range(256)) * 9 + bytes(3_000), "is not text"),
        ("a,b\nc,d\n".encode("utf-16-le"), "give --encoding utf-16-le"),
        ("a,b\nc,d\n".encode("utf-16-be"), "give --encoding utf-16-be"),
    ],
)
def test_other_files_are_named_with_what_to_do(tmp_path: Path, content: bytes, message: str):
    with pytest.raises(UserError, match=message):
        read(tmp_path, "p.csv", content)


def test_other_files_are_named_whatever_they_are_called(tmp_path: Path):
    workbook = zipped("[Content_Types].xml", "xl/workbook.xml")
    with pytest.raises(UserError, match="p.xlsx is an Excel workbook; save it as"):
        read(tmp_path, "p.xlsx", workbook)
    with pytest.raises(UserError, match="its name does not show the format"):
        read(tmp_path, "p.xlsx", TEXT.encode())


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "utf-16-be"])
def test_a_byte_order_mark_is_enough(tmp_path: Path, encoding: str):
    content = TEXT.encode(encoding)
    content = "\ufeff".encode(encoding) + content if encoding == "utf-16-be" else content

    assert read(tmp_path, "p.csv", content)[0] == ROWS
    if encoding == "utf-16":
        assert read(tmp_path, "p.csv", content, TextTable(encoding="utf-16"))[0] == ROWS


@given(
    st.text(st.sampled_from("你好吗abc 一乙丁"), min_size=1),
    st.sampled_from(["gb18030", "big5", "utf-16-le", "utf-16-be", "utf-32-le", "utf-7"]),
)
def test_a_given_encoding_is_read(tmp_path_factory, text: str, encoding: str):
    folder = tmp_path_factory.getbasetemp()
    written = f"x,y\n{text},b\n"
    if encoding == "big5":
        written = written.replace("吗", "嗎")
    content = written.encode(encoding)

    assert read(folder, "p.csv", content, TextTable(encoding=encoding))[0] == [
        tuple(written.split("\n")[1].split(","))
    ]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("编号,问题1,问题2,标签", "gb18030"), ("你好", "gb18030"), ("請問如何申請信用卡", "big5"),
        (JAPANESE, "shift_jis"), (JAPANESE, "euc_jp"), (KOREAN, "euc_kr"),
        ("Wie ändere ich mein Paßwort für größere Überweisungen?", "cp1252"),
        ("où est l’été à Noël ?", "cp1252"),
    ],
)  # fmt: skip
def test_the_likely_encoding_is_named(tmp_path: Path, text: str, encoding: str):
    assert guess(text.encode(encoding)) == encoding
    with pytest.raises(UserError, match=f"is not UTF-8, but most likely {encoding}; give"):
        read(tmp_path, "p.csv", f"{text},x\n".encode(encoding))


def test_lines_that_are_no_text_are_kept_apart_by_their_numbers(tmp_path: Path):
    text = b"x\ty\na\tb\n\xff\tb\n\xfe ragged\nc\td\n"
    found, bad, account, _ = read(tmp_path, "p.tsv", text)

    assert found == [("a", "b"), ("c", "d")]
    assert [(each.line, each.reason) for each in bad] == [(3, "not UTF-8"), (4, "not UTF-8")]
    assert account.undecoded == b"\xff\tb\xfe ragged"
    found, bad, _, _ = read(tmp_path, "p.tsv", b"x\ty\n\xff\tb\n", TextTable(encoding="gb18030"))
    assert not found and bad[0].reason == "not gb18030"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (r"\t", "\t"),
        (r"\x01", "\x01"),
        (r"\u0001", "\x01"),
        ("tab", "\t"),
        ("||", "||"),
        (r"\\", "\\"),
    ],
)
def test_delimiters_as_they_are_typed(typed: str, meant: str):
    assert typed_delimiter(typed) == meant


def test_lines_that_do_not_add_up_stop_the_run():
    account = Account("p.csv", lambda bad: None, total=3, rows=1, header=1)

    with pytest.raises(RunError, match="3 lines, of which 2 are accounted for"):
        account.check()
