"""The cache gives back what was put in, keeps its bound, and drops the least recently used."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.scoring.vector_cache import ENTRY_BYTES, VectorCache

D = 2


def cache_of(entries: int) -> VectorCache:
    cache = VectorCache(1, D)
    cache.capacity = entries
    return cache


def vector(word: str) -> np.ndarray:
    return np.full(D, float(ord(word)), np.float32)


def ask(cache: VectorCache, words: list[str]) -> tuple[np.ndarray, list[str]]:
    into = np.zeros((len(words), D), np.float32)
    return into, [words[position] for position in cache.look_up(words, into)]


def test_capacity_follows_the_budget():
    assert VectorCache(1, D).capacity == (1 << 20) // (4 * D + ENTRY_BYTES)
    assert VectorCache(0, D).capacity == 0


def test_the_least_recently_used_goes_first():
    cache = cache_of(3)
    cache.add(list("abc"), np.stack([vector(word) for word in "abc"]))
    ask(cache, ["a"])  # now b is the one used longest ago
    cache.add(["d"], vector("d")[None])
    into, unknown = ask(cache, list("abcd"))
    assert unknown == ["b"]
    np.testing.assert_array_equal(into[[0, 2, 3]], [vector("a"), vector("c"), vector("d")])


@given(st.integers(0, 8), st.lists(st.sets(st.sampled_from("abcdefghijkl")), max_size=12))
def test_what_is_found_is_what_was_put_in(entries, requests):
    cache = cache_of(entries)
    for request in requests:
        words = sorted(request)
        into, unknown = ask(cache, words)
        for place, word in enumerate(words):
            if word not in unknown:
                np.testing.assert_array_equal(into[place], vector(word))
        cache.add(unknown, np.array([vector(word) for word in unknown]).reshape(-1, D))
        assert len(cache) <= entries


def test_a_request_above_the_capacity_keeps_what_fits():
    cache = cache_of(2)
    cache.add(list("abc"), np.stack([vector(word) for word in "abc"]))
    assert ask(cache, list("abc"))[1] == ["c"]


def test_a_sentence_that_two_threads_missed_at_once_takes_one_row():
    """Both add `a`; were the second row lost, `b` would be written over it."""
    cache = cache_of(3)
    for word in "aab":
        cache.add([word], vector(word)[None])
    into, unknown = ask(cache, list("ab"))
    assert unknown == [] and len(cache) == 2
    np.testing.assert_array_equal(into, [vector("a"), vector("b")])


@pytest.mark.parametrize("threads", [2, 4])
@pytest.mark.parametrize("entries", [7, 60, 1000])
def test_threads_never_get_the_vector_of_another_sentence(threads, entries, eager_switching):
    cache, words = cache_of(entries), [chr(1000 + number) for number in range(200)]

    def work(seed: int) -> int:
        wrong, choice = 0, np.random.default_rng(seed)
        for _ in range(60):
            wanted = [words[place] for place in choice.choice(len(words), 20, replace=False)]
            into, unknown = ask(cache, wanted)
            wrong += sum(
                into[place, 0] != ord(word)
                for place, word in enumerate(wanted)
                if word not in unknown
            )
            cache.add(unknown, np.array([vector(word) for word in unknown]).reshape(-1, D))
        return wrong

    with ThreadPoolExecutor(threads) as pool:
        assert list(pool.map(work, range(threads))) == [0] * threads
    assert len(cache) == min(entries, len(words))
