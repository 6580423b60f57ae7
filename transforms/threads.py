"""Many slow calls at once: object storage answers slowly, not busily."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

LOCAL_THREADS = 8  # a disk answers at once: more threads wait for each other, for twice the CPU
AHEAD = 4  # calls begun for each thread before their results are taken


def in_threads(
    do: Callable[[Item], Result], items: Iterable[Item], threads: int
) -> Iterator[Result]:
    """The results in the order of the items, of which only some are under way at a time.

    So memory follows the number of threads, not that of the items. Ends the calls that have not
    begun where one fails, or where the caller wants no more.
    """
    waiting: deque[Future[Result]] = deque()
    left = iter(items)
    pool = ThreadPoolExecutor(max_workers=threads)
    try:
        for item in islice(left, AHEAD * threads):
            waiting.append(pool.submit(do, item))
        while waiting:
            yield waiting.popleft().result()
            for item in islice(left, 1):
                waiting.append(pool.submit(do, item))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
