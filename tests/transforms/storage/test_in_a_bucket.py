"""What the storage modules do to a bucket: which calls, under which conditions, in which order."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.memory_bucket import MemoryBuckets, below, crc32c, fill
from transforms.errors import RunError
from transforms.storage import files, gcs
from transforms.storage.publishing import publish_folder

OUT = "gs://b/up/out"
LAST = ["manifest.json", "_SUCCESS"]
NEW = {"a.txt": b"new a", "deep/b.txt": b"new b", "manifest.json": b"new m", "_SUCCESS": b""}
OLD = {"a.txt": b"old", "gone.txt": b"old", "manifest.json": b"old m", "_SUCCESS": b"old"}


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> MemoryBuckets:
    found = MemoryBuckets()
    monkeypatch.setattr(gcs, "_client", lambda: found)
    return found


def put(store: MemoryBuckets, folder: str, content: dict[str, bytes]) -> None:
    fill(store, {f"{folder}/{name}": value for name, value in content.items()})


@pytest.fixture(params=["local", "bucket"])
def made(request: pytest.FixtureRequest, store: MemoryBuckets, tmp_path: Path) -> str:
    """A finished folder, on this machine and in the bucket."""
    if request.param == "bucket":
        put(store, "gs://b/made", NEW)
        store.calls.clear()
        return "gs://b/made"
    for name, content in NEW.items():
        (tmp_path / "made" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "made" / name).write_bytes(content)
    return str(tmp_path / "made")


def test_the_sum_is_the_one_of_the_standard():
    assert gcs.sum_of(b"123456789") == crc32c(b"123456789") == "4waSgw=="  # 0xE3069283


def test_a_folder_appears_and_what_makes_it_complete_comes_last(store: MemoryBuckets, made: str):
    publish_folder(made, OUT, last=LAST)

    assert dict(below(store, OUT)) == NEW
    assert sorted(store.calls[:2]) == ["write up/out/a.txt", "write up/out/deep/b.txt"]
    assert store.calls[2:] == ["write up/out/manifest.json", "write up/out/_SUCCESS"]


def test_an_old_folder_stops_being_complete_before_it_goes(store: MemoryBuckets, made: str):
    put(store, OUT, OLD)
    seen = files.versions(OUT)
    store.calls.clear()
    publish_folder(made, OUT, last=LAST, replaces=seen)

    assert dict(below(store, OUT)) == NEW
    assert store.calls[:2] == ["delete up/out/_SUCCESS", "delete up/out/manifest.json"]
    assert sorted(store.calls[2:4]) == ["delete up/out/a.txt", "delete up/out/gone.txt"]
    assert store.calls[-2:] == ["write up/out/manifest.json", "write up/out/_SUCCESS"]


def test_published_twice_is_published_once(store: MemoryBuckets, made: str):
    publish_folder(made, OUT, last=LAST)
    before = dict(store.objects)
    publish_folder(made, OUT, last=LAST)

    assert store.objects == before, "not even a generation changes"


@pytest.mark.parametrize("name", ["a.txt", "deep/b.txt", "_SUCCESS", "more.txt"])
def test_what_another_run_has_written_there_stays(store: MemoryBuckets, made: str, name: str):
    put(store, OUT, {name: b"another run's"})
    with pytest.raises(RunError, match=f"{name} was written by another run.*--overwrite"):
        publish_folder(made, OUT, last=LAST)

    content = dict(below(store, OUT))
    assert content[name] == b"another run's"
    assert (name == "_SUCCESS") == ("_SUCCESS" in content), "it never says that all is there"


def test_of_two_runs_the_first_file_decides(store: MemoryBuckets, made: str):
    put(store, OUT, {"a.txt": b"another run's"})
    store.calls.clear()
    with pytest.raises(RunError):
        publish_folder(made, OUT, last=LAST)

    assert store.calls == [], "nothing of ours lies among theirs"


@pytest.mark.parametrize("change", ["deleted", "replaced"])
def test_a_source_that_another_run_takes_away_is_not_half_published(
    store: MemoryBuckets, change: str, monkeypatch: pytest.MonkeyPatch
):
    put(store, "gs://b/made", NEW)
    sums = gcs.sums

    def late(folder: str) -> dict[str, str]:
        if folder == "gs://b/made":
            if change == "deleted":
                del store.objects["b", "made/a.txt"]
            else:
                put(store, folder, {"a.txt": b"another run's"})
        return sums(folder)

    monkeypatch.setattr(gcs, "sums", late)
    with pytest.raises(RunError, match=r"up/out/a\.txt was written by another run"):
        publish_folder("gs://b/made", OUT, last=LAST)
    assert not {"manifest.json", "_SUCCESS"} & dict(below(store, OUT)).keys()


def test_versions_are_generations_and_only_those_are_deleted(store: MemoryBuckets):
    put(store, OUT, OLD)
    put(store, f"{OUT}side", {"x": b"no part of it"})
    seen = files.versions(OUT)
    put(store, OUT, {"a.txt": b"late", "later.txt": b"late"})
    files.delete_versions(OUT, seen)

    assert set(seen) == set(OLD) and len(set(seen.values())) == len(OLD)
    assert dict(below(store, OUT)) == {"a.txt": b"late", "later.txt": b"late"}
    assert dict(below(store, f"{OUT}side")) == {"x": b"no part of it"}


def test_a_hidden_file_takes_its_name_and_one_that_is_gone_takes_none(store: MemoryBuckets):
    put(store, OUT, {"a.parquet": b"old"})
    for content in (b"one", b"two"):
        hidden, file = files.create_hidden(OUT, "deep/a.parquet")
        file.write(content)
        assert hidden not in store.content(), "an upload appears when it ends"
        file.close()
        assert hidden.startswith(f"{OUT}/_tmp/a.parquet.")
        assert file.sha256 == hashlib.sha256(content).hexdigest() and file.size == 3
        files.reveal(hidden, f"{OUT}/a.parquet")
        assert dict(below(store, OUT)) == {"a.parquet": content}
    with pytest.raises(RunError, match="a.parquet cannot be written: not there"):
        files.reveal(hidden, f"{OUT}/a.parquet")
    assert dict(below(store, OUT)) == {"a.parquet": b"two"}


def test_a_name_that_must_be_new(store: MemoryBuckets):
    for content, expected in ((b"one", b"one"), (b"one", b"one"), (b"two", b"one")):
        hidden, file = files.create_hidden(OUT, "a")
        file.write(content)
        file.close()
        if content == expected:
            files.reveal(hidden, f"{OUT}/a", new=True)
        else:
            with pytest.raises(FileExistsError):
                files.reveal(hidden, f"{OUT}/a", new=True)
        assert store.content()[f"{OUT}/a"] == expected
    files.create_bytes(f"{OUT}/b", b"one")
    files.create_bytes(f"{OUT}/b", b"one")
    with pytest.raises(FileExistsError):
        files.create_bytes(f"{OUT}/b", b"two")
    assert store.content()[f"{OUT}/b"] == b"one"


def test_an_abandoned_upload_never_appears(store: MemoryBuckets):
    _, file = files.create_hidden(OUT, "a")
    file.write(b"half")
    file.abandon()
    file.write(b"lost")
    file.close()

    assert store.content() == {}


def test_what_is_read_is_one_version_from_its_first_byte_to_its_last(store: MemoryBuckets):
    content = bytes(range(256)) * 2_000  # more than is read ahead
    put(store, OUT, {"a": content})
    file, version = files.open_version(f"{OUT}/a")
    other, same = files.open_version(f"{OUT}/a")
    assert version == same == f"{len(content)}-{crc32c(content)}"
    assert file.read_at(10, 500_000) == content[500_000:500_010]
    assert file.read_at(99, len(content) - 5) == content[-5:]
    assert files.sha256_of(f"{OUT}/a") == hashlib.sha256(content).hexdigest()
    put(store, OUT, {"a": content[::-1]})
    with pytest.raises(FileExistsError):
        other.read()
    assert files.open_version(f"{OUT}/a")[1] != version
    assert files.read_bytes(f"{OUT}/a") == content[::-1]


def test_folders_are_listed_copied_and_deleted(store: MemoryBuckets, tmp_path: Path):
    put(store, OUT, NEW)
    put(store, f"{OUT}side", {"x": b""})
    fill(store, {f"{OUT}/deep/": b""})  # as consoles show folders

    assert files.list_folder(OUT) == files.list_folder(f"{OUT}/") == sorted(NEW)
    assert gcs.list_objects(f"{OUT}/deep", folders=True)[0] == (f"{OUT}/deep/", 0)
    with files.local_copy(OUT) as copy:
        assert files.list_folder(copy) == sorted(NEW)
        assert {name: Path(copy, name).read_bytes() for name in NEW} == NEW
        files.copy_tree(copy, "gs://b/copy")
    assert not Path(copy).exists()
    assert dict(below(store, "gs://b/copy")) == NEW
    files.copy_tree(OUT, "gs://b/other")
    assert dict(below(store, "gs://b/other")) == NEW
    files.retire_folder(OUT, f"{OUT}.aside")
    assert files.list_folder(OUT) == [] and files.list_folder(f"{OUT}side") == ["x"]
    assert not any(path.startswith(f"{OUT}/") for path in store.content()), "no empty folder either"
    files.delete([f"{OUT}side/x", f"{OUT}side/none", "gs://b/copy/a.txt"])
    assert files.exists("gs://b/copy/_SUCCESS") and not files.exists("gs://b/copy/a.txt")
    files.delete_folder("gs://b/copy")
    assert files.list_folder("gs://b/copy") == []
