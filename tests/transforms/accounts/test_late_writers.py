"""After a commit no late writer changes or adds a file, whatever it was about to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.late_writers import check_whole, orders, ways
from tests.scoring_kit import pairs, write
from transforms.accounts import claims
from transforms.storage import files, lock

WAYS = (
    "another run",
    "another run over an old one",
    "the same run again",
    "an attempt of the same run",
    "a second commit",
    "another run before the commit",
)


@pytest.mark.parametrize("way", WAYS)
def test_two_writers_in_every_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """A launcher that is gone holds no lock, but what it started may still write: so no lock."""
    monkeypatch.setattr(lock, "_take", lambda path, busy: None)
    monkeypatch.setattr(lock, "_release", lambda path, held: None)
    source = str(write(tmp_path / "in.parquet", pairs(4), row_group_size=1))
    before, first, second = ways(source, lambda number: f"{tmp_path}/out-{number}")[way]
    refused = []
    for number, was_refused in orders(monkeypatch, first, second, before=before):
        manifest = check_whole(f"{tmp_path}/out-{number}")
        assert claims.owner(f"{tmp_path}/out-{number}") == manifest["run"]
        refused.append(was_refused)

    assert len(refused) > 5
    if way != "a second commit":  # two attempts at one commit may both end well
        assert refused.count(True) > len(refused) / 2


class Killed(BaseException):
    """Stands for a kill: nothing in the way catches it."""


def test_killed_anywhere_while_it_replaces_another_run_the_same_command_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = str(write(tmp_path / "in.parquet", pairs(4), row_group_size=1))
    output = f"{tmp_path}/out"
    before, first, _ = ways(source, lambda number: output)["another run over an old one"]

    def kill(number: int) -> None:
        raise Killed

    def killed(number: int) -> None:
        try:
            first(number)
        except Killed:
            names = set(files.list_folder(output))
            if "_SUCCESS" in names:  # a reader may take the folder as it is
                check_whole(output)

    kills = 0
    for _ in orders(monkeypatch, killed, kill, before=before):
        first(0)
        check_whole(output)
        kills += 1

    assert kills > 30
