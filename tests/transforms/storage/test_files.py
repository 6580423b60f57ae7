"""Files: found, written whole or not at all, and what is said when that fails."""

from __future__ import annotations

import errno
import glob
import hashlib
import json
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.scoring_kit import pairs
from transforms.accounts.claims import Claim
from transforms.accounts.shard_writer import ShardWriter
from transforms.errors import RunError, UserError
from transforms.input.input_files import find
from transforms.storage import files


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")


def test_files_are_found_once_sorted_and_named_below_the_fixed_part(tmp_path):
    touch(tmp_path / "b.parquet", tmp_path / "a.parquet", tmp_path / "deep" / "er" / "c.parquet")
    found = find([f"{tmp_path}/**", f"{tmp_path}/a.parquet"])
    assert [file.name for file in found] == ["a.parquet", "b.parquet", "deep__er__c.parquet"]
    assert {file.size for file in found} == {1}


def test_a_name_with_wildcards_in_it_is_taken_as_it_is(tmp_path):
    touch(tmp_path / "a[1]*.parquet", tmp_path / "a1.parquet")
    found = find([f"{tmp_path}/a[1]*.parquet"])
    assert [file.name for file in found] == ["a[1]*.parquet"]


def test_whether_a_file_lies_below_a_folder_however_it_is_written(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "in")
    touch(tmp_path / "in" / "a")
    for folder in ("in", "in/", "x/../in", "link", ".", "./in/."):
        assert files.is_inside(f"{tmp_path}/in/a", f"{tmp_path}/{folder}")
    for folder in ("i", "in/a/b", "inside", "out"):
        assert not files.is_inside(f"{tmp_path}/in/a", f"{tmp_path}/{folder}")
    assert files.is_inside("gs://b/in/a", "gs://b/in")
    assert not files.is_inside("gs://b/in/a", "gs://b/i")


def test_small_files_are_written_whole_and_leave_nothing_beside(tmp_path):
    files.write_json(f"{tmp_path}/x/a.json", {"ü": [1]})
    assert json.loads((tmp_path / "x" / "a.json").read_text()) == {"ü": [1]}
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["a.json"]


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[" * 100_000, b""])
def test_json_that_is_none(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UserError, match="not valid JSON"):
        files.read_json(f"{tmp_path}/a.json")


def test_what_cannot_be_written_is_an_error_of_the_run(tmp_path):
    touch(tmp_path / "file")
    with pytest.raises(RunError, match="file/a cannot be written"):
        files.write_bytes(f"{tmp_path}/file/a", b"x")


def test_a_reason_is_the_systems_word_or_one_line():
    assert (
        files.reason(OSError(errno.ENOSPC, "No space left on device")) == "No space left on device"
    )
    assert files.reason(ValueError("first.\nsecond")) == "first"
    assert files.reason(MemoryError()) == "MemoryError"


def test_copies_and_listings(tmp_path):
    touch(tmp_path / "from" / "a", tmp_path / "from" / "b" / "c")
    files.copy_tree(f"{tmp_path}/from", f"{tmp_path}/to")
    assert files.list_folder(f"{tmp_path}/to") == ["a", "b/c"]
    assert files.list_folder(f"{tmp_path}/none") == []
    files.delete([f"{tmp_path}/to/a", f"{tmp_path}/to/none"])
    assert files.list_folder(f"{tmp_path}/to") == ["b/c"]


def writer(tmp_path, name="rejects/a.parquet"):
    return ShardWriter(Claim(str(tmp_path)), name, pairs(0).schema, "in/a.parquet")


def test_a_shard_is_hidden_until_it_is_whole(tmp_path):
    path = tmp_path / "rejects" / "a.parquet"
    with writer(tmp_path) as out:
        for batch in pairs(10).to_batches(max_chunksize=4):
            out.write(batch)
            assert not path.exists()
        written = out.finish()
    assert pq.read_table(path).equals(pairs(10))
    assert written.rows == 10 and written.source == "in/a.parquet"
    assert written.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert list((tmp_path / "_tmp").iterdir()) == []


def test_a_shard_that_is_not_finished_leaves_nothing(tmp_path):
    with pytest.raises(KeyError), writer(tmp_path) as out:
        out.write(pairs(5).to_batches()[0])
        raise KeyError
    assert files.list_folder(str(tmp_path)) == []


def test_a_shard_without_rows_is_a_file_with_the_schema(tmp_path):
    with writer(tmp_path, "a.parquet") as out:
        out.write(pa.RecordBatch.from_pylist([], schema=pairs(0).schema))
        assert files.list_folder(str(tmp_path)) == []
        assert out.finish().rows == 0
    assert pq.read_schema(tmp_path / "a.parquet") == pairs(0).schema


def test_a_store_of_neither_kind_is_listed_and_emptied_through_beam(monkeypatch):
    """It tells no versions, so what was seen there is deleted as it is."""
    objects = {"s3://b/out/a", "s3://b/out/deep/b", "s3://b/other"}

    class Elsewhere:
        def match(self, patterns):
            start = patterns[0].removesuffix("**")
            found = [SimpleNamespace(path=path) for path in objects if path.startswith(start)]
            return [SimpleNamespace(metadata_list=found)]

        exists = objects.__contains__
        delete = objects.difference_update

    monkeypatch.setattr(files, "FileSystems", Elsewhere())
    seen = files.versions("s3://b/out")
    assert seen == {"a": "", "deep/b": ""}
    files.delete_versions("s3://b/out", {"a": ""})
    assert objects == {"s3://b/out/deep/b", "s3://b/other"}
    files.delete(["s3://b/out/deep/b", "s3://b/out/none"])
    assert objects == {"s3://b/other"}


@pytest.mark.parametrize("name", ["a[1]", "plain"])
def test_a_local_folder_has_a_name_that_matches_itself(tmp_path: Path, name: str):
    """TensorFlow looks for files by patterns."""
    folder = tmp_path / name
    folder.mkdir()
    (folder / "weights").write_text("w")
    with files.local_copy(str(folder)) as plain:
        assert glob.glob(f"{plain}/weight*") == [f"{plain}/weights"]
        (Path(plain) / "more").write_text("m")
    assert {path.name for path in folder.iterdir()} == {"weights", "more"}
    assert (plain == str(folder)) == (name == "plain")
    assert Path(plain).exists() == (name == "plain")
    with files.local_copy(str(tmp_path / "no" / name)):
        pass
    assert not (tmp_path / "no").exists()
