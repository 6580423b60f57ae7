"""Folders that appear all at once: after a commit no late writer changes or adds a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.late_writers import Publishers, orders
from transforms.accounts import staging
from transforms.errors import UserError
from transforms.storage import files, lock


@pytest.mark.parametrize("way", ["another run", "another run over an old one", "a second attempt"])
@pytest.mark.parametrize("swaps", [True, False])
def test_two_writers_in_every_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, swaps: bool
) -> None:
    monkeypatch.setattr(lock, "_take", lambda path, busy: None)
    monkeypatch.setattr(lock, "_release", lambda path, held: None)
    if not swaps and way != "a second attempt":  # two renames: the old one, if any, goes between
        monkeypatch.setattr("ctypes.CDLL", lambda *_, **__: object())
    made = Publishers(lambda number: f"{tmp_path}/out-{number}")
    before, first, second = made.ways[way]
    refused = []
    for number, was_refused in orders(monkeypatch, first, second, before=before):
        made.check(number)
        assert not list(tmp_path.glob("out-*.partial/_shards/claim.json"))
        refused.append(was_refused)

    assert len(refused) > 10
    assert refused.count(True) == 0 if way == "a second attempt" else refused.count(True) > 5


class Killed(BaseException):
    """Stands for a kill: nothing in the way catches it."""


def test_killed_anywhere_it_leaves_the_old_folder_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Publishers(lambda number: f"{tmp_path}/out")
    before, first, _ = made.ways["another run over an old one"]

    def kill(number: int) -> None:
        raise Killed

    def killed(number: int) -> None:
        try:
            first(number)
        except Killed:
            assert len(made.contents(number)) == 1  # one run's, and complete

    kills = 0
    for number, _ in orders(monkeypatch, killed, kill, before=before):
        first(number)
        made.check(number)
        kills += 1

    assert kills > 10
    assert not files.exists(f"{tmp_path}/out.partial/_shards/claim.json")


@pytest.mark.parametrize("name", ["out", "out/", "./out//", "a/../out", ".", "link/", "gone/"])
def test_an_output_has_its_place_however_its_name_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    here = tmp_path / "here"
    for folder in ("a", "real"):
        (here / folder).mkdir(parents=True)
    (here / "link").symlink_to("real")
    (here / "gone").symlink_to("nowhere")
    monkeypatch.chdir(here / "a" if name == "." else here)
    target = Path(name).resolve()
    for content in ("old", "new"):
        with staging.claim_folder(name, overwrite=content == "new") as room:
            files.write_bytes(f"{room.folder}/data", content.encode())
            room.publish({"_SUCCESS": b""}, holds=["data"])
        assert {path.name for path in target.iterdir()} == {"data", "_SUCCESS"}
        assert (target / "data").read_text() == content

    assert Path.cwd().samefile(here / "a" if name == "." else here)
    assert (here / "link").is_symlink() and (here / "gone").is_symlink()
    assert not list(tmp_path.rglob("*.partial*"))


def test_what_can_be_no_folder_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("years of work")
    (tmp_path / "loop").symlink_to("loop")
    for name, message in (("mine", "is a file; expected a folder"), ("loop", "leads to itself")):
        with (
            pytest.raises(UserError, match=message),
            staging.claim_folder(f"{tmp_path}/{name}", overwrite=True),
        ):
            raise AssertionError("nothing may be begun")
    with pytest.raises(UserError), staging.claim_folder(f"{tmp_path}/new", overwrite=True):
        raise UserError("the input cannot be used")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["loop", "mine"]
