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
class Records:
    """Files of examples, and what each example holds.

    Attributes:
        files: their paths.
        rows: examples in each; counted where not given.
        raw_text: whether sides are sentences as they are, `text1` and so on, or ids, `ids1`.
        triplets: whether there is a third side, a negative.
        numbers: what comes with the sides and the label: `weight`, `teacher`.
        keyed: whether there is a key of each sentence, `first_key` and `second_key`.
    """

    files: tuple[str, ...]
    rows: tuple[int, ...] | None = None
    raw_text: bool = False
    triplets: bool = False
    numbers: tuple[str, ...] = ()
    keyed: bool = False

    @property
    def sides(self) -> list[str]:
        """Names of the sides' features."""
        kind = "text" if self.raw_text else "ids"
        return [f"{kind}{side}" for side in ((1, 2, 3) if self.triplets else (1, 2))]

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the features that hold the sentences' keys."""
        return ("first_key", "second_key") if self.keyed else ()


@dataclass(frozen=True)
class EpochOrder:
    """What the order of an epoch depends on, beside the epoch's number.

    Attributes:
        seed: of all that is random.
        length_noise: lengths count times a random factor of 1 ± half of it, so that batches are
            more like the entire part.
        by_length: whether rows of about one length come together; if not, rows that stand together
            in the files do, see `neighbours`.
    """

    seed: int
    length_noise: float = 0.0
    by_length: bool = True


# A worked example: six rows in two streams, batches of four, so two steps.
#
#   stream 0, ends at 4: a b c d      stream 1, ends at 6: e f
#
# After t steps min(4 t, 6) rows are given, of each stream in proportion to its size, the running
# totals rounded down (`windows.rows_taken`):
#
#   t      given   up to stream 0    up to stream 1    so stream 0, stream 1
#   0      0       0                 0                 0, 0
#   1      4       4·4 // 6 = 2      4·6 // 6 = 4      2, 2
#   2      6       6·4 // 6 = 4      6·6 // 6 = 6      4, 2
#
# Step 1 has a b e f, and step 2 has c d. One worker reads both streams; of two workers one reads
# a b | c d, the other e f | nothing: the same rows in the same steps, and no step is over full.
# A row's number in its batch counts stream by stream (a 0, b 1, e 2, f 3), so what depends on it,
# as dropout does, is the same too. The second worker's step without a row gets a synthetic one of
# weight 0. Within a window of steps, each stream's rows are first sorted by length and then dealt
# out to the steps like this, and the steps are shuffled: `windows.cut_window`.


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
