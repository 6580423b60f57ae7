"""Says how far preprocessing is, by what its steps leave in the folder: alike on every runner."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from transforms.examples_folder import count_done
from transforms.preprocessing import LEARNED, TRANSFORMED

LOOK_EVERY_SECONDS = 5.0


@contextmanager
def show_steps(staging: str, shards: int) -> Iterator[None]:
    """Says every few seconds, until the block ends, which step is how far."""
    started, ended = time.monotonic(), threading.Event()

    def look() -> None:
        learned = done = 0
        while not ended.wait(LOOK_EVERY_SECONDS):
            seconds = time.monotonic() - started
            with suppress(OSError):  # the folder is renamed or emptied at the end
                learned = max(learned, count_done(staging, LEARNED))
                done = max(done, count_done(staging, TRANSFORMED))
            step = f"learning the vocabulary: {learned}" if not done else f"transforming: {done}"
            print(f"{step} of {shards} shards, {seconds:.0f} s", file=sys.stderr, flush=True)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
