"""What a run shows of itself, on accounts as a run leaves them."""

from __future__ import annotations

import io
import threading

import pytest
from rich.console import Console

from pipelines.running import progress
from transforms.accounts import output_folder, shard_account
from transforms.accounts.claims import Claim
from transforms.input.shards import Shard


class Looks:
    """Stands for the event that ends the display: it lets so many looks pass."""

    def __init__(self, looks: int, between=lambda: None):
        self.left, self.between = looks, between

    def wait(self, seconds: float) -> bool:
        self.between()
        self.left -= 1
        return self.is_set()

    def is_set(self) -> bool:
        return self.left < 0


def leave_account(output, name: str, scored: int, rejected: int, **counts: int) -> None:
    rows = scored + rejected
    account = shard_account.ShardAccount(
        shard={"name": name, "rows": rows},
        run_key="k",
        rows_in=rows,
        rows_scored=scored,
        rows_rejected=rejected,
        rejected_by_reason={"sentence_null": rejected},
        counts=counts,
    )
    shard_account.write_account(Claim(str(output)), account)


@pytest.fixture
def shown():
    return io.StringIO()


def test_lines_tell_rows_shards_rejects_and_cache_hits(tmp_path, shown):
    leave_account(tmp_path, "a.parquet", 7, 3, sentences=8, cache_hits=2)
    leave_account(tmp_path, "of-another-run.parquet", 5, 5)
    done = progress.Done(str(tmp_path), {"a.parquet": 10, "b.parquet": 30})
    looks = Looks(1)
    progress.show_lines(done, looks, Console(file=shown, width=200))
    assert "10/40 rows, 1/2 shards, 3 rejected, 25% cache hits," in shown.getvalue()
    assert shown.getvalue().count("\n") == 1


def test_nothing_done_yet_has_no_speed_and_no_time_left(tmp_path, shown):
    done = progress.Done(str(tmp_path), {"a.parquet": 10})
    progress.show_lines(done, Looks(1), Console(file=shown, width=200))
    assert "0/10 rows, 0/1 shards, 0 rejected, 0 rows/s, none done yet" in shown.getvalue()


def test_the_bar_goes_on_as_shards_are_finished(tmp_path, shown):
    done = progress.Done(str(tmp_path), {"a.parquet": 10, "b.parquet": 30})
    finished = iter([("a.parquet", 9, 1, 4, 0), ("b.parquet", 30, 0, 4, 4)])

    def finish_one() -> None:
        name, scored, rejected, sentences, hits = next(finished, (None,) * 5)
        if name:
            leave_account(tmp_path, name, scored, rejected, sentences=sentences, cache_hits=hits)

    console = Console(file=shown, force_terminal=True, width=160)
    progress.show_live(done, Looks(2, finish_one), console)
    assert "40/40 rows" in shown.getvalue()
    assert "2/2 shards, 1 rejected, 50% cache hits" in shown.getvalue()


def test_an_account_is_read_once(tmp_path, monkeypatch):
    leave_account(tmp_path, "a.parquet", 1, 0)
    done = progress.Done(str(tmp_path), {"a.parquet": 1})
    done.look()
    monkeypatch.setattr(shard_account, "read_account", None)
    done.look()
    assert (done.rows, done.seen) == (1, {"a.parquet"})


def test_accounts_are_read_side_by_side(tmp_path, monkeypatch):
    names = [f"{number}.parquet" for number in range(40)]
    for name in names:
        leave_account(tmp_path, name, 2, 1)
    together = threading.Barrier(8, timeout=250)
    read = shard_account.read_account

    def slow(output, name):
        together.wait()  # breaks, and nothing is counted, unless 8 are asked for at a time
        return read(output, name)

    monkeypatch.setattr(shard_account, "read_account", slow)
    done = progress.Done(str(tmp_path), dict.fromkeys(names, 3))
    done.look()
    assert (done.rows, done.rejected, len(done.seen)) == (120, 40, 40)


def test_a_run_that_has_ended_does_not_wait_for_accounts(tmp_path, monkeypatch):
    leave_account(tmp_path, "a.parquet", 1, 0)
    begun, answered = threading.Event(), threading.Event()

    def no_answer(output, name):
        begun.set()
        answered.wait(120)
        raise OSError("the bucket does not respond")

    monkeypatch.setattr(shard_account, "read_account", no_answer)
    monkeypatch.setattr(progress, "LOG_EVERY_SECONDS", 0.0)
    monkeypatch.setattr(progress, "END_SECONDS", 0.0)
    work = output_folder.Work(tuple(plan_of(tmp_path)), (), committed=False)
    with progress.show_progress(str(tmp_path), work):
        assert begun.wait(60)
    assert not answered.is_set()  # the block has ended, and the store has not answered yet
    answered.set()


def plan_of(folder) -> list[Shard]:
    return [Shard("in", "mark", "a.parquet", 0, 1, 1)]


def test_a_look_ends_when_the_run_does(tmp_path, monkeypatch):
    names = [f"{number}.parquet" for number in range(200)]
    for name in names:
        leave_account(tmp_path, name, 1, 0)
    ended, looked_up = threading.Event(), []
    read = shard_account.read_account

    def end(output, name):
        looked_up.append(name)
        ended.set()
        return read(output, name)

    monkeypatch.setattr(shard_account, "read_account", end)
    done = progress.Done(str(tmp_path), dict.fromkeys(names, 1))
    done.look(ended)
    assert len(looked_up) < 100 and not done.seen
