"""A finished folder takes its place on this machine, whatever its name leads to."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from pathlib import Path

import pytest

from transforms.errors import RunError, UserError
from transforms.storage import local
from transforms.storage.files import versions
from transforms.storage.lock import lock
from transforms.storage.publishing import publish_folder


def folder(path: Path, content: str) -> str:
    (path / "deep").mkdir(parents=True)
    (path / "deep" / "a.txt").write_text(content)
    (path / "_SUCCESS").write_text(content)
    return str(path)


def content_of(path: Path) -> dict[str, str]:
    found = (file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path)): file.read_text() for file in found}


NEW = {"deep/a.txt": "new", "_SUCCESS": "new"}


@pytest.fixture
def new(tmp_path: Path) -> str:
    return folder(tmp_path / "made", "new")


def test_it_appears_where_nothing_was(tmp_path: Path, new: str):
    publish_folder(new, str(tmp_path / "up" / "out"), last=["_SUCCESS"])

    assert content_of(tmp_path / "up" / "out") == NEW
    assert os.listdir(tmp_path / "up") == ["out"]


def test_a_link_stays_and_the_folder_that_it_names_is_replaced(tmp_path: Path, new: str):
    real = tmp_path / "disk" / "real"
    folder(real, "old")
    (tmp_path / "out").symlink_to(real)

    publish_folder(
        new, str(tmp_path / "out"), last=["_SUCCESS"], replaces=versions(str(tmp_path / "out"))
    )

    assert (tmp_path / "out").is_symlink() and content_of(real) == NEW
    assert os.listdir(real.parent) == ["real"]


def test_a_mount_point_is_filled(tmp_path: Path, new: str, monkeypatch: pytest.MonkeyPatch):
    out = tmp_path / "out"
    folder(out, "old")
    (out / "more.txt").write_text("old")
    inode = out.stat().st_ino
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == out)

    publish_folder(new, str(out), last=["_SUCCESS"], replaces=versions(str(tmp_path / "out")))

    assert content_of(out) == NEW and out.stat().st_ino == inode


def test_what_is_there_stays_without_leave_to_replace_it(tmp_path: Path, new: str):
    folder(tmp_path / "out", "old")

    with pytest.raises(RunError, match="--overwrite"):
        publish_folder(new, str(tmp_path / "out"), last=["_SUCCESS"])

    assert content_of(tmp_path / "out") == {"deep/a.txt": "old", "_SUCCESS": "old"}


def test_an_error_half_way_leaves_the_old_folder(tmp_path: Path, new: str, monkeypatch):
    folder(tmp_path / "out", "old")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(local, "swap", full)
    with pytest.raises(OSError, match="No space"):
        publish_folder(
            new, str(tmp_path / "out"), last=["_SUCCESS"], replaces=versions(str(tmp_path / "out"))
        )

    assert content_of(tmp_path / "out") == {"deep/a.txt": "old", "_SUCCESS": "old"}


@pytest.mark.parametrize("there_is", [True, False])
def test_folders_are_swapped_also_where_the_system_has_no_call_for_it(
    tmp_path: Path, there_is: bool, monkeypatch: pytest.MonkeyPatch
):
    one, other = folder(tmp_path / "one", "one"), folder(tmp_path / "other", "other")
    renamed: list[str] = []
    rename = os.rename
    monkeypatch.setattr(os, "rename", lambda *paths: (renamed.append(paths[0]), rename(*paths)))
    if not there_is:
        monkeypatch.setattr("ctypes.CDLL", lambda *_, **__: object())

    local.swap(one, other)
    # In one step, in which nobody finds nothing there; by renaming it would be three.
    assert there_is == (renamed == []) or not hasattr(ctypes.CDLL(None), "renameat2")
    assert content_of(tmp_path / "one")["_SUCCESS"] == "other"
    assert content_of(tmp_path / "other")["_SUCCESS"] == "one"

    with pytest.raises(FileNotFoundError):
        local.swap(str(tmp_path / "gone"), other)
    assert content_of(tmp_path / "other")["_SUCCESS"] == "one"
    assert sorted(os.listdir(tmp_path)) == ["one", "other"]


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP])
def test_a_disk_without_locks_is_no_reason_to_stop(tmp_path: Path, code: int, monkeypatch):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with lock(str(tmp_path / "_LOCK"), busy="busy"):
        assert (tmp_path / "_LOCK").exists()


def test_a_lock_that_fails_is_one_line(tmp_path: Path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(UserError, match="cannot be locked"), lock(str(tmp_path / "l"), busy="b"):
        pass
