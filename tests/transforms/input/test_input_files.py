"""Which files a path, a folder or a pattern stands for, and what their outputs are named after."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from transforms.errors import UserError
from transforms.input.input_files import _as_regex, find
from transforms.input.partitions import Partition, output_name, partition_folders, partitions_of

# pattern → what fits, what does not
PATTERNS: dict[str, tuple[list[str], list[str]]] = {
    "a/*.p": (["a/x.p", "a/.p"], ["a/b/x.p", "a/xp"]),
    "a/**": (["a/b/c", "a/b"], ["b/a"]),
    "a/**/x": (["a/x", "a/b/c/x"], ["ax", "a/bx"]),
    "**.p": (["a/b.p", "b.p"], ["b.p/c"]),
    "a?c": (["abc"], ["a/c", "ac"]),
    "a[!b].p": (["ac.p"], ["ab.p"]),
    "a[1-3]": (["a2"], ["a4", "a-"]),
    "[]].p": (["].p"], ["a.p"]),
    "[[]": (["["], ["]"]),
    "a[": (["a["], ["a"]),
    "[]*": (["[]x"], ["x", "]x"]),
    "[!]*": (["[!]x"], ["x"]),
    "a\\d": (["a\\d"], ["a1"]),
}


def test_what_is_no_pattern_is_reported():
    with pytest.raises(UserError, match="is not a pattern .bad character range z-a"):
        find(["[z-a]*"])


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_fits(pattern):
    fits, not_these = PATTERNS[pattern]
    assert all(re.fullmatch(_as_regex(pattern), text, re.S) for text in fits)
    assert not any(re.fullmatch(_as_regex(pattern), text, re.S) for text in not_these)


def test_folders_that_cannot_hold_a_match_are_not_entered(tmp_path: Path, monkeypatch):
    for name in ("in/a.p", "in/deep/er/b.p", "in/other/c.p"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in" / "other").chmod(0)  # would be refused, but by root
    assert [file.path for file in find(["in/*.p"])] == ["in/a.p"]
    assert [file.path for file in find(["in/d*"])] == ["in/deep/er/b.p"]
    assert [file.below for file in find(["in/d*"])] == ["deep/er/b.p"]
    (tmp_path / "in" / "other").chmod(0o755)
    assert [file.path for file in find(["in"])] == ["in/a.p", "in/deep/er/b.p", "in/other/c.p"]
    assert [file.path for file in find([f"{tmp_path}/in/a.p", "in/a.p"])] == [f"{tmp_path}/in/a.p"]


@pytest.mark.parametrize(
    ("path", "below", "in_file", "name"),
    [
        ("in/a.p", "a.p", [], "a.p"),
        ("in/en/a.p", "en/a.p", [], "en__a.p"),
        ("in/day=1/a.p", "day=1/a.p", [], "day=1/a.p"),
        ("in/day=1/a.p", "a.p", [], "day=1/a.p"),
        ("in/en/day=1/h=2/a.p", "en/day=1/h=2/a.p", [], "day=1/h=2/en__a.p"),
        ("in/en/day=1/h=2/a.p", "en/day=1/h=2/a.p", ["day"], "h=2/day-1__en__a.p"),
        ("in/day=1/en/a.p", "day=1/en/a.p", [], "day=1__en__a.p"),  # not right above the file
        ("in/_a.p", "_a.p", [], "a.p"),
    ],
)
def test_outputs_keep_the_folders_of_partitions(path, below, in_file, name):
    found = [Partition(f.partition("=")[0], "x") for f in partition_folders(path)]
    found = [one._replace(in_file=one.name in in_file) for one in found]

    assert output_name(path, below, found) == name


def test_a_partition_has_a_name_a_value_and_a_type():
    path = "in/a%20b=x%2Fy/n=__HIVE_DEFAULT_PARTITION__/day=2024-02-29/there=1/a.p"
    found = partitions_of(path, ["there"], {"day": "date"}, ["a b"])

    assert found == [
        Partition("a b", "x/y", "text", True),
        Partition("n", None, "text", False),
        Partition("day", "2024-02-29", "date", True),
    ]
    assert [one.scalar().as_py() for one in found][:2] == ["x/y", None]
    assert str(found[2].scalar().as_py()) == "2024-02-29"
