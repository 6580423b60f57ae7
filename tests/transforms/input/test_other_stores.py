"""Files in buckets and in stores that Beam alone knows are found as those on a disk are."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.memory_bucket import MemoryBuckets, fill
from transforms.errors import UserError
from transforms.input import input_files
from transforms.input.input_files import find
from transforms.storage import gcs

NAMES = (
    "in/a.p", "in/deep/b.p", "in/deep/_rejects/c.p", "in/_SUCCESS", "in/.hidden.p",
    "in/day=1/d.p", "in/_day=1/e.p", "in/x[1]*.p", "in2/f.p", "in.p",
)  # fmt: skip
# what is named → what is found, and its path below what was named
FOUND: dict[str, dict[str, str]] = {
    "in": {
        "in/_day=1/e.p": "_day=1/e.p",
        "in/a.p": "a.p",
        "in/day=1/d.p": "day=1/d.p",
        "in/deep/b.p": "deep/b.p",
        "in/x[1]*.p": "x[1]*.p",
    },
    "in/a.p": {"in/a.p": "a.p"},
    "in/x[1]*.p": {"in/x[1]*.p": "x[1]*.p"},
    "in/*.p": {"in/a.p": "a.p", "in/x[1]*.p": "x[1]*.p"},
    "in/d*": {"in/day=1/d.p": "day=1/d.p", "in/deep/b.p": "deep/b.p"},
    "in/d*/b.p": {"in/deep/b.p": "deep/b.p"},
    "in/_S*": {"in/_SUCCESS": "_SUCCESS"},
    "*/f.p": {"in2/f.p": "in2/f.p"},
}


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> MemoryBuckets:
    found = MemoryBuckets()
    monkeypatch.setattr(gcs, "_client", lambda: found)
    fill(found, {f"gs://b/{name}": b"x" * number for number, name in enumerate(NAMES)})
    return found


@pytest.mark.parametrize("named", FOUND)
def test_in_a_bucket(store: MemoryBuckets, named: str):
    found = find([f"gs://b/{named}"])

    assert {file.path: file.below for file in found} == {
        f"gs://b/{path}": below for path, below in FOUND[named].items()
    }
    assert [file.path for file in found] == sorted(file.path for file in found)
    assert all(file.size == NAMES.index(file.path.removeprefix("gs://b/")) for file in found)


def test_a_folder_may_end_with_a_slash_and_files_are_found_once(store: MemoryBuckets):
    assert find(["gs://b/in/"]) == find(["gs://b/in", "gs://b/in/*.p", "gs://b/in/a.p"])


@pytest.mark.parametrize("named", ["no", "in/no*", "i", "in2/f"])
def test_what_is_not_there(store: MemoryBuckets, named: str):
    with pytest.raises(UserError, match="matches no file"):
        find([f"gs://b/{named}"])


@pytest.mark.parametrize("named", [name for name in FOUND if name not in ("in", "in/x[1]*.p")])
def test_where_beam_lists(monkeypatch: pytest.MonkeyPatch, named: str):
    class Elsewhere:
        """Lists what begins so, as Beam does with more than fits."""

        def match(self, patterns):
            (pattern,) = patterns
            start = pattern.partition("*")[0]
            listed = [f"s3://b/{name}" for name in NAMES if f"s3://b/{name}".startswith(start)]
            found = [SimpleNamespace(path=path, size_in_bytes=len(path)) for path in listed]
            return [SimpleNamespace(metadata_list=found)]

    monkeypatch.setattr(input_files, "FileSystems", Elsewhere())
    found = find([f"s3://b/{named}"])
    assert {file.path: (file.size, file.below) for file in found} == {
        f"s3://b/{path}": (len(f"s3://b/{path}"), below) for path, below in FOUND[named].items()
    }
