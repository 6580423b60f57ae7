"""Shows how a run gets on: a live bar on a terminal, a line now and then in a log.

It counts the accounts in the output folder, so it works alike on every runner.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from transforms import files, ledger

LOG_EVERY_SECONDS = 30.0
LOOK_EVERY_SECONDS = 0.5


@contextmanager
def show_progress(output: str, work: ledger.Work) -> Iterator[None]:
    """Shows shards and rows done, rows a second and time left, until the block ends."""
    rows = {shard.name: shard.rows for shard in work.todo}
    ended = threading.Event()
    show = _show_live if sys.stderr.isatty() else _show_lines
    thread = threading.Thread(
        target=show, args=(lambda: _finished(output, rows), rows, ended), daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _finished(output: str, rows: dict[str, int]) -> tuple[int, int]:
    folder = files.join(output, ledger.SHARDS_FOLDER)
    names = [name.removesuffix(".json") for name in files.list_folder(folder)]
    done = [name for name in names if name in rows]
    return len(done), sum(rows[name] for name in done)


def _show_lines(
    look: Callable[[], tuple[int, int]], rows: dict[str, int], ended: threading.Event
) -> None:
    started, total = time.monotonic(), sum(rows.values())
    while not ended.wait(LOG_EVERY_SECONDS):
        shards, done = look()
        speed = done / (time.monotonic() - started)
        left = f"{(total - done) / speed:.0f} s left" if speed else "waiting for the first shard"
        print(
            f"{shards}/{len(rows)} shards, {done:,}/{total:,} rows, {speed:,.0f} rows/s, {left}",
            file=sys.stderr,
            flush=True,
        )


def _show_live(
    look: Callable[[], tuple[int, int]], rows: dict[str, int], ended: threading.Event
) -> None:
    from rich.console import Console
    from rich.progress import Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        *Progress.get_default_columns()[:2],
        TextColumn("{task.completed:,.0f}/{task.total:,.0f} rows"),
        TextColumn("{task.fields[speed]:,.0f} rows/s"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    started = time.monotonic()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("scoring", total=sum(rows.values()) or 1, speed=0.0)
        while not ended.wait(LOOK_EVERY_SECONDS):
            _, done = look()
            progress.update(task, completed=done, speed=done / (time.monotonic() - started))
