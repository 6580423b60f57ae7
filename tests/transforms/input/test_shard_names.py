"""Names of what is written, and what is said of files that are left out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.scoring_kit import pairs, write
from transforms.errors import UserError
from transforms.input import shards
from transforms.pairs import PairColumns

ENDING = "-00000-of-00001.parquet"


def plan(*patterns: Path | str, **how):
    how = {"shard_rows": 100, **how}
    return shards.plan([str(pattern) for pattern in patterns], PairColumns(), **how)


@pytest.mark.parametrize(("longer", "fits"), [(0, True), (1, False)])
def test_a_name_may_have_two_hundred_bytes(tmp_path: Path, longer: int, fits: bool):
    # Two bytes a letter: what counts is bytes.
    letters = "é" * ((200 - len(ENDING)) // 2) + "x" * ((200 - len(ENDING)) % 2 + longer)
    write(tmp_path / f"{letters}.parquet", pairs(1))
    if fits:
        (shard,) = plan(tmp_path).shards
        assert len(shard.name.encode()) == 200
    else:
        with pytest.raises(UserError, match="a name of more than 200 bytes"):
            plan(tmp_path)


def test_each_folder_of_a_partition_may_be_as_long(tmp_path: Path):
    folders = ["a=" + "x" * 198, "b=" + "y" * 198]
    write(tmp_path.joinpath(*folders, "a.parquet"), pairs(1))
    (shard,) = plan(tmp_path).shards
    assert shard.name == "/".join([*folders, "a" + ENDING])
    write(tmp_path / ("c=" + "z" * 199) / "a.parquet", pairs(1))
    with pytest.raises(UserError, match="a name of more than 200 bytes"):
        plan(tmp_path)


def test_two_files_of_one_name_are_both_named(tmp_path: Path):
    one, other = tmp_path / "1" / "a.parquet", tmp_path / "2" / "a.parquet"
    for path in (one, other):
        write(path, pairs(1))
    with pytest.raises(UserError) as raised:
        plan(one, other)
    assert str(raised.value).startswith(f"{one} and {other} would both be written as a{ENDING}")
    assert [shard.name for shard in plan(f"{tmp_path}/*/*.parquet").shards] == [
        f"1__a{ENDING}",
        f"2__a{ENDING}",
    ]


def test_two_files_of_one_name_are_told_apart_where_nothing_is_named_after_them(tmp_path: Path):
    for folder in ("1", "2"):
        write(tmp_path / folder / "a.parquet", pairs(4), row_group_size=2)
    write(tmp_path / "2" / "b.parquet", pairs(1))
    given = [tmp_path / "1", tmp_path / "2"]
    found = plan(*given, named_after_input=False, shard_rows=2).shards
    of_a = [shard for shard in found if shard.source.endswith("/a.parquet")]

    assert len({shard.name for shard in found}) == len(found) == 5
    assert all(re.fullmatch(r"a-[0-9a-f]{12}-0000\d-of-00002\.parquet", s.name) for s in of_a)
    assert [shard.name for shard in found if shard not in of_a] == [f"b{ENDING}"]
    assert plan(*reversed(given), named_after_input=False, shard_rows=2).shards == found


def test_the_same_file_in_many_shards_is_no_clash(tmp_path: Path):
    write(tmp_path / "a.parquet", pairs(9), row_group_size=3)
    names = [shard.name for shard in plan(tmp_path, shard_rows=3).shards]
    assert names == [f"a-0000{n}-of-00003.parquet" for n in range(3)]


@pytest.mark.parametrize(
    ("good", "bad", "choice", "error", "hint"),
    [
        (1, 1, "fail", None, True),
        (2, 2, "fail", "(2 of 4 files cannot be used)", True),
        (1, 3, "fail", "(3 of 4 files cannot be used)", True),
        (0, 2, "fail", "(2 of 2 files cannot be used)", False),
        (0, 2, "reject", "(2 of 2 files cannot be used)", False),  # there is nothing left
        (0, 1, "fail", None, False),
        (1, 1, None, None, False),
    ],
)
def test_files_that_cannot_be_used_are_counted(
    tmp_path: Path, good: int, bad: int, choice: str | None, error: str | None, hint: bool
):
    for number in range(good):
        write(tmp_path / f"good-{number}.parquet", pairs(1))
    for number in range(bad):
        (tmp_path / f"bad-{number}.parquet").write_bytes(b"noise")
    with pytest.raises(UserError) as raised:
        plan(tmp_path, on_bad_file=choice)
    message = str(raised.value)
    assert message.startswith(f"{tmp_path}/bad-0.parquet is not a complete Parquet file (5 bytes")
    assert (error in message) if error else "cannot be used" not in message
    assert ("--on_bad_file=reject" in message) == hint


def test_files_left_out_are_listed_with_the_reason(tmp_path: Path):
    write(tmp_path / "good.parquet", pairs(5))
    (tmp_path / "bad.parquet").write_bytes(b"noise")
    made = plan(tmp_path, on_bad_file="reject")
    assert [shard.rows for shard in made.shards] == [5]
    assert [(file.source, file.reason[:60]) for file in made.rejected] == [
        (f"{tmp_path}/bad.parquet", f"{tmp_path}/bad.parquet is not a complete Parquet file"[:60])
    ]


def test_partition_columns_that_no_folder_has_are_named(tmp_path: Path):
    write(tmp_path / "day=1" / "a.parquet", pairs(1))
    with pytest.raises(UserError, match="--partition_columns dag: no folder .*; there are day"):
        plan(tmp_path, partition_columns={"day": "int32", "dag": "text"})
    assert plan(tmp_path, partition_columns={"day": "int32", "id": "text"}).shards
    write(tmp_path / "flat" / "a.parquet", pairs(1))
    with pytest.raises(UserError, match="; no folder has any$"):
        plan(tmp_path / "flat", partition_columns={"day": "int32"})
