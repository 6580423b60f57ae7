"""Folders that appear all at once: after a commit no late writer changes or adds a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.late_writers import Publishers, orders
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
