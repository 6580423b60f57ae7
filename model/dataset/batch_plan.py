"""Which rows make up each step of an epoch, planned before anything is read.

The files are grouped into a fixed number of streams, and every global batch takes rows of every
stream in proportion. An input worker reads whole streams, so each file is read by one worker only,
yet the rows of step t are the same rows on one worker and on many.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

STREAMS = 16  # a power of two, so that 2, 4, 8 and 16 workers get equal shares
WINDOW_STEPS = 64
WINDOW_ROWS = 2**17  # bounds the memory of a window when batches are big


@dataclass(frozen=True)
class BatchPlan:
    """An epoch of `rows` examples in steps of `batch_size`; one of them may be smaller."""

    streams: tuple[tuple[str, ...], ...]  # the files of each
    ends: tuple[int, ...]  # running total of examples up to the end of each stream
    batch_size: int

    @property
    def rows(self) -> int:
        """Examples of the epoch."""
        return self.ends[-1]

    @property
    def steps(self) -> int:
        """Steps of the epoch."""
        return -(-self.rows // self.batch_size)

    @property
    def window_steps(self) -> int:
        """Steps whose examples are sorted by length together."""
        return max(1, min(WINDOW_ROWS // self.batch_size, WINDOW_STEPS))

    def share(self, worker: int, workers: int) -> range:
        """The streams that one of several input workers reads."""
        count = len(self.streams)
        return range(count * worker // workers, count * (worker + 1) // workers)


def plan_batches(
    files: Sequence[str], rows: Sequence[int], *, batch_size: int, workers: int = 1
) -> BatchPlan:
    """Group files, of so many rows each, into streams. Over `STREAMS` workers get one each."""
    count = max(min(len(files), STREAMS), workers)
    sized = sorted(zip(files, rows, strict=True))
    streams = [sized[s::count] for s in range(count)]
    sizes = [sum(size for _, size in stream) for stream in streams]
    names = tuple(tuple(file for file, _ in stream) for stream in streams)
    return BatchPlan(names, tuple(accumulate(sizes)), batch_size)
