"""The simulation of shard scheduling, on plans small enough to work out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.shard_scheduling import Trouble, attempt_seconds, cut_rows, makespan, skewed_files

NONE = Trouble(slow_workers=0, failures=0, joining=0)


@pytest.mark.parametrize("dealt", [True, False])
@pytest.mark.parametrize(
    ("seconds", "workers", "expected"),
    [
        ([2, 2, 2, 2], 2, 4),  # two each
        ([2, 2, 2], 2, 4),  # one works twice
        ([5], 3, 5),
        ([1, 1, 1, 1, 1, 1], 3, 2),
    ],
)
def test_without_trouble(dealt: bool, seconds: list, workers: int, expected: float) -> None:
    rng = np.random.default_rng(0)
    assert makespan(np.array(seconds, float), workers, NONE, rng, dealt=dealt) == expected


def test_who_takes_the_next_leaves_less_to_the_slow() -> None:
    """All workers thrice as slow: thrice the time. Joining: the last of two comes after 4 s."""
    rng = np.random.default_rng(0)
    slow = Trouble(slow_workers=1, slowness=3, failures=0, joining=0)
    assert makespan(np.ones(4), 2, slow, rng, dealt=False) == 6
    late = Trouble(slow_workers=0, failures=0, joining=4)
    assert makespan(np.ones(6), 2, late, rng, dealt=False) == 5  # four are done, then one each
    assert makespan(np.ones(6), 2, late, rng, dealt=True) == 7  # the late one has three to do


def test_cutting_and_failing() -> None:
    shards = cut_rows(np.array([25, 10, 3]), 10)
    assert sorted(shards) == [3, 5, 10, 10, 10]
    rng = np.random.default_rng(0)
    once = attempt_seconds(np.full(10_000, 5_000.0), NONE, rng)
    assert set(once) == {1.5}  # 5,000 rows at 5,000 a second, and half a second around them
    tenth = attempt_seconds(np.full(100_000, 5_000.0), Trouble(failures=0.1), rng)
    assert tenth.mean() == pytest.approx(1.5 * (1 + 0.5 / 9), rel=0.01)  # 1/9 failures, half way


def test_files_are_skewed_and_add_up() -> None:
    sizes = skewed_files(1_000_000_000, 1_000_000, np.random.default_rng(1))
    assert len(sizes) == 1_000 and sizes.sum() == pytest.approx(1e9, rel=1e-3)
    assert sizes.max() > 10 * np.median(sizes)
