"""Shows a run's progress: a live bar on a terminal, a line now and then in a log.

It reads the accounts in the output folder, so it works the same on every runner.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from rich.console import Console

from transforms.accounts import output_folder, shard_account
from transforms.accounts.shard_account import ShardAccount
from transforms.errors import UserError
from transforms.examples.read_pairs import LEARNED, TRANSFORMED
from transforms.examples.shard_marks import count_done
from transforms.storage import files
from transforms.threads import in_threads

LOG_EVERY_SECONDS = 30.0
STARTING = "loading TensorFlow and the bundle"
LOOK_EVERY_SECONDS = {"local": 0.5, "remote": 10.0}  # listing a bucket costs time and money
PAUSE = 4  # times as long as a look took: of very many shards it takes a while
ACCOUNT_THREADS = 16
END_SECONDS = 2.0  # how long a run that has ended waits for a look that has begun


@dataclass
class Done:
    """What the accounts of the finished shards say, each read once.

    Attributes:
        output: the folder of scores.
        planned: rows of each shard of this run.
        seen: shards whose accounts were read.
        rows: rows read.
        rejected: rows rejected.
        sentences: distinct sentences of the shards, added up.
        cache_hits: those of them whose vector was remembered from before.
    """

    output: str
    planned: dict[str, int]
    seen: set[str] = field(default_factory=set)
    rows: int = 0
    rejected: int = 0
    sentences: int = 0
    cache_hits: int = 0

    def look(self, ended: threading.Event | None = None) -> None:
        """Reads the accounts that are new, many at once, until the run has ended."""
        folder = files.join(self.output, shard_account.SHARDS_FOLDER)
        names = {name.removesuffix(".json") for name in files.list_folder(folder)}
        new = sorted((names & self.planned.keys()) - self.seen)
        for name, account in zip(new, in_threads(self._read, new, ACCOUNT_THREADS), strict=True):
            if ended is not None and ended.is_set():
                return
            if account is None:
                continue
            self.seen.add(name)
            self.rows += account.rows_in
            self.rejected += account.rows_rejected
            self.sentences += account.counts.get("sentences", 0)
            self.cache_hits += account.counts.get("cache_hits", 0)

    def _read(self, name: str) -> ShardAccount | None:
        try:
            return shard_account.read_account(self.output, name)
        except (OSError, UserError):  # who shows progress does not judge: the run itself does
            return None

    @property
    def total(self) -> int:
        """Rows of this run."""
        return sum(self.planned.values())

    def summary(self) -> str:
        """Shards, rejects and cache hits in a few words."""
        words = [f"{len(self.seen)}/{len(self.planned)} shards", f"{self.rejected:,} rejected"]
        if self.sentences:
            words.append(f"{self.cache_hits / self.sentences:.0%} cache hits")
        return ", ".join(words)


@contextmanager
def show_progress(output: str, work: output_folder.Work) -> Iterator[None]:
    """Shows what is done, how fast and what is left, until the block ends."""
    done = Done(output, {shard.name: shard.rows for shard in work.todo})
    ended = threading.Event()
    show = show_live if sys.stderr.isatty() else show_lines
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    thread = threading.Thread(target=show, args=(done, ended, console), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(END_SECONDS)


def show_lines(done: Done, ended: threading.Event, console: Console) -> None:
    """A line every half minute."""
    started, wait = time.monotonic(), LOG_EVERY_SECONDS
    while not ended.wait(wait):
        wait = max(LOG_EVERY_SECONDS, _look(done, ended))
        speed = done.rows / (time.monotonic() - started)
        left = f"{(done.total - done.rows) / speed:.0f} s left" if speed else "none done yet"
        console.print(
            f"{done.rows:,}/{done.total:,} rows, {done.summary()}, {speed:,.0f} rows/s, {left}"
        )


def show_live(done: Done, ended: threading.Event, console: Console) -> None:
    """A bar that goes away when the run ends."""
    from rich.progress import Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        *Progress.get_default_columns()[:2],
        TextColumn("{task.completed:,.0f}/{task.total:,.0f} rows"),
        TextColumn("{task.fields[summary]}"),
        TextColumn("{task.fields[speed]:,.0f} rows/s"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    started = time.monotonic()
    wait = least = LOOK_EVERY_SECONDS["local" if files.is_local(done.output) else "remote"]
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(STARTING, total=done.total or 1, speed=0.0, summary="")
        while not ended.wait(wait):
            wait = max(least, _look(done, ended))
            speed = done.rows / (time.monotonic() - started)
            doing = "scoring" if done.seen else STARTING
            progress.update(
                task,
                description=doing,
                completed=done.rows,
                summary=done.summary(),
                speed=speed,
            )


def _look(done: Done, ended: threading.Event) -> float:
    """Looks once; how long to pause after it."""
    started = time.monotonic()
    with suppress(OSError):  # a bucket that does not answer now; the next look may meet it again
        done.look(ended)
    return PAUSE * (time.monotonic() - started)


STEPS_EVERY_SECONDS = 5.0


@contextmanager
def show_steps(staging: str, shards: int) -> Iterator[None]:
    """Prints every few seconds, until the block ends, how far each step is."""
    started, ended = time.monotonic(), threading.Event()

    def look() -> None:
        learned, done, wait = 0, 0, STEPS_EVERY_SECONDS
        while not ended.wait(wait):
            seconds = time.monotonic() - started
            with suppress(OSError):  # the folder is renamed or emptied at the end
                learned = max(learned, count_done(staging, LEARNED))
                done = max(done, count_done(staging, TRANSFORMED))
            took = time.monotonic() - started - seconds
            wait = max(STEPS_EVERY_SECONDS, PAUSE * took)
            step = f"learning the vocabulary: {learned}" if not done else f"transforming: {done}"
            print(f"{step} of {shards} shards, {seconds:.0f} s", file=sys.stderr, flush=True)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(END_SECONDS)
