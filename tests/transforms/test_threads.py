from __future__ import annotations

import threading

import pytest

from transforms.threads import AHEAD, in_threads


def test_results_come_in_order_and_only_some_calls_are_under_way():
    begun: list[int] = []
    found = in_threads(lambda n: begun.append(n) or n * n, range(500), 3)
    for number, square in enumerate(found):
        assert square == number * number
        assert len(begun) <= number + 1 + 3 * AHEAD
    assert sorted(begun) == list(range(500))


def test_calls_are_made_side_by_side():
    together = threading.Barrier(5, timeout=250)
    assert len(list(in_threads(lambda _: together.wait(), range(20), 5))) == 20


def test_an_error_ends_it():
    begun: list[int] = []

    def fail(number: int) -> None:
        begun.append(number)
        raise ValueError(number)

    with pytest.raises(ValueError, match="^0$"):
        list(in_threads(fail, range(10_000), 2))
    assert len(begun) <= 2 * AHEAD + 2
