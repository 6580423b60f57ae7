from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.transforms.tables.kit import read
from transforms.errors import UserError
from transforms.tables import json_array, reading
from transforms.tables.json_values import parse_object

TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
VALUES = st.one_of(
    TEXTS, st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False),
    st.lists(st.integers(), max_size=3), st.dictionaries(TEXTS, TEXTS, max_size=2),
)  # fmt: skip
OBJECTS = st.dictionaries(TEXTS, VALUES, min_size=1, max_size=4)


def as_text(value: object) -> str | None:
    return (
        value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("json")


@given(st.lists(OBJECTS, min_size=1, max_size=6), st.booleans(), st.booleans())
def test_objects_come_as_they_stand(folder: Path, objects: list[dict], ascii: bool, array: bool):
    written = [json.dumps(each, ensure_ascii=ascii) for each in objects]
    text = f"[{', '.join(written)}]" if array else "\n".join(written)
    if not array and all(str(as_text(v))[:1] in ("{", "[") for v in objects[0].values()):
        return  # pandas' columns: see below
    found = read(folder, "p.jsonl", text)[0]
    names = list(dict.fromkeys(name for each in objects for name in each))

    assert found == [tuple(as_text(each.get(name)) for name in names) for each in objects]


@pytest.mark.parametrize("written", [
    "1.0", "12345678901234567890123", "1E5", "-0", "0.10", "1e400", "NaN", "true", "[1.0, 2]",
    '{"a": 12345678901234567890}',
])  # fmt: skip
def test_numbers_keep_their_digits(written: str):
    assert parse_object(f'{{"a": {written}}}') == {"a": written}


@pytest.mark.parametrize(
    ("line", "detail"),
    [
        ("[1]", "a list"), ("1", "a number"), ('"a"', "a text"), ("null", "a null"),
        ("{}", "empty"),
        ('{"a": 1, "a": 2}', "twice"), ('{"a": {"b": 1, "b": 2}}', "twice"),
        ('{"a": 1}{"a": 2}', "Extra data at character 9"), ('{"a": "\\ud800"}', "surrogate"),
        ('{"a": ' + "[" * 100_000, "deeply"), ('{"a": ' + "[" * 600 + "]" * 600 + "}", "deeply"),
        ('{"a": secret}', "Expecting value at character 7"),
    ],
)  # fmt: skip
def test_a_line_that_is_no_object_is_a_bad_line(folder: Path, line: str, detail: str):
    found, bad, _, _ = read(folder, "p.jsonl", f'{{"a": "x"}}\n{line}\n\n{{"a": "y"}}\n')

    assert found == [("x",), ("y",)]
    assert [each.line for each in bad] == [2]
    assert detail in bad[0].detail and "secret" not in bad[0].detail
    # Lines are counted by their reason: a place within the line is not part of it.
    placed = "at character" in detail
    assert bad[0].reason == ("no JSON object" if placed else bad[0].detail)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (pd.DataFrame({"x": ["a", "b"]}).to_json(), "to_json.*orient='records'"),
        ('{\n  "x": "a",\n  "y": "b"\n}\n', "one JSON document over many lines"),
        ('["a", "b"]\n["c", "d"]\n', "JSON lists"),
        ('[{"a": 1}, {"a": ', "line 1: the JSON array is broken or cut"),
        ('[{"a": 1}]\n\n[{"a": 2}]', "line 3: text after the end"),
        ("[" + '{"a":' * 5_000, "nested too deeply"),
    ],
)
def test_other_documents_are_named(folder: Path, text: str, message: str):
    with pytest.raises(UserError, match=message):
        read(folder, "p.json", text)


def test_pandas_records_are_read(folder: Path):
    text = pd.DataFrame({"x": ["a", "b"], "y": [1.5, None]}).to_json(orient="records")

    assert read(folder, "p.json", text)[0] == [("a", "1.5"), ("b", None)]


@pytest.mark.parametrize("size", [1, 2, 7])
def test_an_array_in_pieces(folder: Path, monkeypatch, size: int):
    monkeypatch.setattr("transforms.tables.encodings.PIECE_BYTES", size)
    text = '[\n {"x": "a]{好"},\n {"x": 12},\n 3, {"x": [1]}\n]\n'
    found, bad, account, places = read(folder, "p.json", text)
    monkeypatch.setattr(reading, "HEAD_BYTES", 5)
    again = read(folder, "p.json", text)

    assert found == again[0] == [("a]{好",), ("12",), ("[1]",)]
    assert [line for line, _ in places] == [line for line, _ in again[3]] == [2, 3, 4]
    assert [(each.line, each.detail) for each in bad] == [(4, "not a JSON object but a number")]
    assert (account.total, account.rows, account.bad) == (4, 3, 1)


def test_an_element_without_end_is_not_held(folder: Path, monkeypatch):
    monkeypatch.setattr(json_array, "MOST_ELEMENT_CHARS", 100)
    monkeypatch.setattr("transforms.tables.encodings.PIECE_BYTES", 10)
    monkeypatch.setattr(reading, "HEAD_BYTES", 10)
    with pytest.raises(UserError, match="broken or cut"):
        read(folder, "p.json", '[{"a": "' + "x" * 1_000 + '"}]')
