"""The plan of the work: shards from footers alone, the same ones every time."""

from __future__ import annotations

import errno
import os
import threading
from dataclasses import replace

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.scoring_kit import pairs, write
from transforms.errors import RunError, UserError
from transforms.input import read_shards, shards
from transforms.input.footers import Footer
from transforms.input.input_files import FoundFile
from transforms.pairs import PairColumns
from transforms.storage import files

COLUMNS = PairColumns()


@given(groups=st.lists(st.integers(0, 50), max_size=30), most=st.integers(1, 80))
def test_shards_are_whole_row_groups_each_once_and_in_order(groups, most):
    cut = shards.cut_file(
        "in/a.parquet", "a.parquet", Footer("f", pa.schema([]), tuple(groups)), most
    )
    covered = [n for shard in cut for n in range(shard.first_row_group, shard.end_row_group)]
    assert covered == list(range(len(groups)))
    assert sum(shard.rows for shard in cut) == sum(groups)
    for shard in cut:
        size = groups[shard.first_row_group : shard.end_row_group]
        assert shard.rows == sum(size)
        assert shard.rows <= most or sum(rows > 0 for rows in size) == 1
    assert [shard.name for shard in cut] == sorted({shard.name for shard in cut})


def test_names_tell_the_file_and_the_place():
    cut = shards.cut_file("x/a.b.parquet", "a.b.parquet", Footer("f", pa.schema([]), (5, 5, 5)), 10)
    assert [shard.name for shard in cut] == [
        "a.b-00000-of-00002.parquet",
        "a.b-00001-of-00002.parquet",
    ]


def test_a_file_without_row_groups_is_one_shard_without_rows():
    (shard,) = shards.cut_file("a", "a", Footer("f", pa.schema([]), ()), 10)
    assert (shard.first_row_group, shard.end_row_group, shard.rows) == (0, 0, 0)


def test_reading_all_shards_gives_the_rows_of_the_files(tmp_path):
    write(tmp_path / "in" / "a.parquet", pairs(70), row_group_size=9)
    write(tmp_path / "in" / "deep" / "b.parquet", pairs(20), row_group_size=7)
    planned = shards.plan_shards([str(tmp_path / "in" / "**")], COLUMNS, shard_rows=20)
    assert [shard.name.split("-")[0] for shard in planned] == ["a"] * 4 + ["deep__b"]
    batches = [
        batch for shard in planned for batch in read_shards.read_shard(shard, batch_bytes=300)
    ]
    assert max(batch.num_rows for batch in batches) < 10
    expected = duckdb.sql(
        f"select * from '{tmp_path}/in/a.parquet' union all "
        f"select * from '{tmp_path}/in/deep/b.parquet'"
    ).fetchall()
    assert [tuple(row.values()) for batch in batches for row in batch.to_pylist()] == expected


def test_some_columns_alone_in_the_order_asked_for(tmp_path):
    source = write(tmp_path / "a.parquet", pairs(5))
    (shard,) = shards.plan_shards([str(source)], COLUMNS, shard_rows=9)
    (batch,) = read_shards.read_shard(shard, columns=["sentence2", "id"])
    assert batch.schema.names == ["sentence2", "id"]


def test_the_plan_is_the_same_wherever_the_folder_stands(tmp_path):
    names = []
    for folder in ("one", "two/three"):
        path = write(tmp_path / folder / "a.parquet", pairs(30), row_group_size=5)
        os.utime(path, ns=(1, 1))  # as a copy has it that keeps times
        found = shards.plan_shards([f"{tmp_path}/{folder}/*.parquet"], COLUMNS, shard_rows=10)
        names.append([(s.name, s.fingerprint, s.first_row_group) for s in found])
    assert names[0] == names[1]


def test_bad_files_stop_the_plan_or_are_left_out(tmp_path):
    write(tmp_path / "good.parquet", pairs(5))
    for name in ("x", "y"):
        (tmp_path / f"{name}.parquet").write_bytes(b"noise")
    pattern = [f"{tmp_path}/*.parquet"]
    with pytest.raises(UserError, match=r"x.parquet .*\(2 of 3 files cannot be used\)"):
        shards.plan(pattern, COLUMNS, shard_rows=9)
    planned = shards.plan(pattern, COLUMNS, shard_rows=9, on_bad_file="reject")
    assert [shard.rows for shard in planned.shards] == [5]
    assert [file.source for file in planned.rejected] == [f"{tmp_path}/{n}.parquet" for n in "xy"]
    assert list(planned.schemas) == [f"{tmp_path}/good.parquet"]


def test_a_file_that_is_gone_or_another_is_noticed(tmp_path):
    source = write(tmp_path / "a.parquet", pairs(5))
    (shard,) = shards.plan_shards([str(source)], COLUMNS, shard_rows=9)
    with read_shards.ShardReader(shard) as reader:
        assert reader.schema == pairs(5).schema
    for damage in (pairs(6), b"", b"no Parquet any more", source.read_bytes()[:-9]):
        if isinstance(damage, bytes):
            source.write_bytes(damage)
        else:
            write(source, damage)
        with pytest.raises(RunError, match="changed after the run had looked at it"):
            next(read_shards.read_shard(shard))
    source.unlink()
    with pytest.raises(RunError, match="vanished"):
        read_shards.ShardReader(shard)


def test_footers_are_read_side_by_side_and_schemas_kept_once(tmp_path, monkeypatch):
    """Object storage takes its time for each answer, and a plan may hold very many files."""
    together = threading.Barrier(32, timeout=250)
    names = [f"{number:02d}.parquet" for number in range(32)]
    for name in names:
        write(tmp_path / name, pairs(1))
    read = shards.read_footer

    def slow(path, int96):
        together.wait()  # breaks, and the plan fails, unless 32 are asked for at a time
        return read(path.replace("gs://bucket", str(tmp_path)), int96)

    monkeypatch.setattr(shards, "read_footer", slow)
    found = [FoundFile(f"gs://bucket/{name}", None, name) for name in names]
    plan = shards.plan(found, COLUMNS, shard_rows=10)
    assert len(plan.shards) == 32
    assert len({id(schema) for schema in plan.schemas.values()}) == 1


def footer_bytes(content: bytes) -> bytes:
    length = int.from_bytes(content[-8:-4], "little")
    return content[-8 - length :]


def test_a_corrected_label_of_equal_length_is_another_file(tmp_path):
    """Size and footer are the same; the bytes in between are not."""
    path = tmp_path / "in.parquet"
    seen = []
    for labels in ([0, 1, 1, 0], [1, 0, 0, 1]):
        write(path, pairs(4, label=pa.array(labels)), use_dictionary=False, compression="none")
        (shard,) = shards.plan_shards([str(path)], COLUMNS, shard_rows=20)
        seen.append((footer_bytes(path.read_bytes()), path.stat().st_size, shard.fingerprint))

    assert seen[0][:2] == seen[1][:2]
    assert seen[0][2] != seen[1][2]
    with pytest.raises(RunError, match="changed after the run had looked at it"):
        list(read_shards.read_shard(replace(shard, fingerprint=seen[0][2])))


def test_a_store_that_does_not_answer_is_not_a_damaged_file(tmp_path, monkeypatch):
    path = write(tmp_path / "in.parquet", pairs(4))
    (shard,) = shards.plan_shards([str(path)], COLUMNS, shard_rows=20)

    def outage(_):
        raise OSError(errno.EIO, "the bucket does not respond: 503")

    monkeypatch.setattr(files, "open_version", outage)
    for read in (
        lambda: list(read_shards.read_shard(shard)),
        lambda: shards.plan([str(path)], COLUMNS, shard_rows=20, on_bad_file="reject"),
    ):
        with pytest.raises(RunError, match="cannot be read now: the bucket does not respond"):
            read()
