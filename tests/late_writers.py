"""Two writers on one folder, the other one let in before each step of the first.

A writer's steps are its calls of the store. `orders` runs the first writer again and again; each
time the second one does all its work before another step of the first.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Iterator
from contextlib import suppress

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tests.scoring_kit import EqualScorer
from transforms.accounts import blocks, output_folder, shard_account
from transforms.accounts import commit as commits
from transforms.accounts.claims import Claim, owner
from transforms.accounts.staging import Staging, stage
from transforms.errors import RunError, UserError
from transforms.input.shards import Shard, plan
from transforms.pairs import PairColumns
from transforms.scoring.score_shards import ScoreSettings, score_shard
from transforms.storage import files, gcs, local


class Shifted(EqualScorer):
    """Gives other similarities, so that two writers' files can be distinguished."""

    def __init__(self, by: float):
        self.by = by

    def score(self, side1: pa.Array, side2: pa.Array) -> tuple[list[pa.Array], dict[str, int]]:
        (similarity, label), counts = super().score(side1, side2)
        return [pc.add(similarity, pa.scalar(self.by, pa.float32())), label], counts


def planned(source: str, shard_rows: int) -> list[Shard]:
    return list(plan([source], PairColumns(), shard_rows=shard_rows).shards)


def run(source: str, output: str, key: str, *, shard_rows: int, max_chars: int, by: float) -> None:
    """A whole run without Beam; it replaces what other options left."""
    shards = planned(source, shard_rows)
    with output_folder.claim_output(output, shards, key, overwrite=True) as work:
        if work.committed:
            return
        settings = ScoreSettings(work.claim, key, max_chars=max_chars)
        for shard in work.todo:
            score_shard(shard, Shifted(by), settings)
        finish(work.claim, shards)


def finish(claim: Claim, shards: list[Shard]) -> None:
    """The commit of a run whose accounts are there, with a page that tells whose it is."""
    accounts = [blocks.read_done(shard, claim.folder)[1] for shard in shards]
    commits.publish(
        claim,
        shard_account.summarise(accounts),
        header={},
        gates=commits.Gates(1.0),
        pages={output_folder.DRIFT_PAGE: str(claim.run).encode()},
    )


def orders(
    monkeypatch: pytest.MonkeyPatch,
    first: Callable[[int], object],
    second: Callable[[int], object],
    *,
    before: Callable[[int], object] = lambda number: None,
    every: int = 1,
) -> Iterator[tuple[int, bool]]:
    """Runs `first(n)` and lets `second(n)` in before its nth call of the store, for each n.

    Before both, `before(n)` is run alone.

    Yields:
        After each: n, and whether the first one was refused.
    """
    waiting: list[int] = []  # calls until the second one is let in; empty once it was

    def let_in(number: int) -> Callable[[], None]:
        def count() -> None:
            if waiting:
                waiting[0] -= 1
                if waiting[0] < 0:
                    waiting.clear()
                    second(number)

        return count

    entered: list[Callable[[], None]] = []
    for module in (gcs, local):
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if function.__module__ == module.__name__ and name not in ("is_object", "sum_of"):
                monkeypatch.setattr(module, name, _counted(function, entered))
    monkeypatch.setattr(files, "_open", _counted(files._open, entered))
    monkeypatch.setattr(files, "for_each", lambda do, names: [do(name) for name in names])
    number = 0
    while True:
        before(number)
        waiting[:], entered[:] = [number], [let_in(number)]
        try:
            first(number)
            refused = False
        except (RunError, UserError):
            refused = True
        entered.clear()
        if waiting:
            return  # the first one ended before its nth call
        yield number, refused
        number += every


def _counted(function: Callable, entered: list[Callable[[], None]]) -> Callable:
    def call(*given, **how):
        for count in entered:
            count()
        return function(*given, **how)

    return call


def check_whole(output: str) -> dict:
    """Checks that a folder is one committed run's: its files, its page, and nothing else."""
    names = files.list_folder(output)
    manifest = json.loads(files.read_bytes(files.join(output, "_manifest.json")))
    assert "_SUCCESS" in names
    sums = {file["name"]: file["sha256"] for file in manifest["files"]}
    outputs = [name for name in names if name.endswith((".parquet", ".rejected"))]
    assert sorted(sums) == sorted(outputs)
    for name, digest in sums.items():
        content = files.read_bytes(files.join(output, *name.split("/")))
        assert hashlib.sha256(content).hexdigest() == digest, name
    assert files.read_bytes(files.join(output, "_drift.html")).decode() == manifest["run"]
    return manifest


def ways(source: str, folder: Callable[[int], str]) -> dict[str, tuple[Callable, ...]]:
    """Pairs of writers: what was before, the one that is late, and the one that comes between."""
    mine = {"shard_rows": 2, "max_chars": 11, "by": 0.25}  # longer sentences are rejected
    other = {"shard_rows": 3, "max_chars": 99, "by": 0.5}
    shards = planned(source, 2)
    claims: dict[int, Claim] = {}

    def begin(number: int) -> None:
        claims[number] = output_folder.begin(folder(number), shards, "mine").claim

    def attempt(number: int, by: float = 0.75) -> None:
        settings = ScoreSettings(claims[number], "mine", max_chars=11)
        for shard in shards:
            score_shard(shard, Shifted(by), settings)

    def commit(number: int) -> None:
        finish(claims[number], shards)

    def begin_and_score(number: int) -> None:
        begin(number)
        attempt(number)

    def score_and_commit(number: int) -> None:
        attempt(number, 0.25)
        commit(number)

    def run_mine(number: int) -> None:
        run(source, folder(number), "mine", **mine)

    def run_other(number: int) -> None:
        run(source, folder(number), "other", **other)

    def nothing(number: int) -> None:
        pass

    return {
        "another run": (nothing, run_mine, run_other),
        "another run over an old one": (run_other, run_mine, run_other),
        "the same run again": (nothing, run_mine, run_mine),
        "an attempt of the same run": (begin, attempt, score_and_commit),
        "a second commit": (begin_and_score, commit, commit),
        "another run before the commit": (begin_and_score, commit, run_other),
    }


class Publishers:
    """Writers of folders that appear all at once.

    Attributes:
        ways: pairs of writers, as `ways` gives them.
    """

    NAMES = ("_SUCCESS", "deep/b.txt", "a.txt")

    def __init__(self, folder: Callable[[int], str]):
        self.folder = folder
        self.taken: list[str] = []  # runs in the order in which they took the output
        self.staged: dict[int, Staging] = {}
        self.ways: dict[str, tuple[Callable[[int], None], ...]] = {
            "another run": (lambda number: None, self.run, self.run),
            "another run over an old one": (self.run, self.run, self.run),
            "a second attempt": (self.begin, self.attempt, self.attempt_or_end),
        }

    def stage(self, number: int) -> Staging:
        staging = stage(self.folder(number), overwrite=True)
        mine = owner(staging.claim.folder) == staging.run  # or another took it while we did
        self.taken.insert(len(self.taken) - (not mine), staging.run)
        return staging

    def begin(self, number: int) -> None:
        self.staged[number] = self.stage(number)
        self.write(self.staged[number])

    def attempt(self, number: int) -> None:
        """A runner does the last step twice: each writes what completes the folder."""
        staging = self.staged[number]
        if not self.is_done(staging):
            marks = {"_SUCCESS": staging.run.encode()}
            staging.publish(marks, holds=self.NAMES[1:], is_done=lambda: self.is_done(staging))

    def attempt_or_end(self, number: int) -> None:
        """It may fail, where the first is about to publish; a runner would try once more."""
        with suppress(RunError):
            self.attempt(number)

    def run(self, number: int) -> None:
        staging = self.stage(number)
        self.write(staging)
        staging.publish({"_SUCCESS": staging.run.encode()}, holds=self.NAMES[1:])

    def write(self, staging: Staging) -> None:
        for name in self.NAMES[1:]:
            path = files.join(staging.folder, *name.split("/"))
            hidden, file = files.create_hidden(staging.folder, name)
            file.write(staging.run.encode())
            file.close()
            files.reveal(hidden, path)

    def is_done(self, staging: Staging) -> bool:
        done = files.join(staging.output, "_SUCCESS")
        return files.exists(done) and files.read_bytes(done).decode() == staging.run

    def contents(self, number: int) -> set[str]:
        """Checks that nothing is missing or too much; whose the files are."""
        output = self.folder(number)
        assert files.list_folder(output) == sorted(self.NAMES), output
        return {
            files.read_bytes(files.join(output, *name.split("/"))).decode() for name in self.NAMES
        }

    def check(self, number: int) -> None:
        """Checks that the folder is complete, and that of the run that took it last."""
        assert self.contents(number) == {self.taken[-1]}
