"""The engine: distinct sentences once, and scores that are those of the plain two-sided pass."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.scoring import engine as engine_module
from model.scoring.engine import Engine

WORDS = st.text(alphabet="abcdé中 ", min_size=1, max_size=9)
PAIRS = st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=60)


class CodePointTwins:
    """Twins worked out with plain Python: a vector is the sum and the count of code points."""

    dimensions = 2
    padding_changes_bits = False
    reads_text = False
    packed = None

    def __init__(self):
        self.encoded_rows = []

    def tokenize(self, sentences):
        ids = [[ord(letter) for letter in sentence] for sentence in sentences]
        return np.array(sum(ids, [])), np.array([len(row) for row in ids])

    def encode_ids(self, ids):
        self.encoded_rows += [tuple(row[row > 0]) for row in ids]
        return np.stack([ids.sum(1), (ids > 0).sum(1)], 1).astype(np.float32)

    def compare(self, u, v):
        similarity = np.exp(-np.abs(u - v).sum(1) / 100)
        return {"similarity": similarity, "label": (similarity > 0.5).astype(np.int64)}


def expected(a: str, b: str) -> float:
    apart = abs(sum(map(ord, a)) - sum(map(ord, b))) + abs(len(a) - len(b))
    return np.exp(np.float32(-apart / 100))


def strings(values) -> pa.Array:
    return pa.array(list(values), pa.large_string())


@settings(max_examples=30)
@given(pairs=PAIRS, cuts=st.lists(st.integers(1, 20), min_size=1, max_size=5), cache=st.booleans())
def test_scores_are_those_of_each_pair_alone_however_the_rows_are_cut(pairs, cuts, cache):
    engine = Engine(CodePointTwins(), cache_mb=int(cache))
    scores, rest = [], list(pairs)
    while rest:
        cut = cuts[len(scores) % len(cuts)]
        part, rest = rest[:cut], rest[cut:]
        compared, _ = engine.score(strings(a for a, _ in part), strings(b for _, b in part))
        scores += compared["similarity"].tolist()
    np.testing.assert_allclose(scores, [expected(a, b) for a, b in pairs], rtol=1e-6)


def test_each_distinct_sentence_is_encoded_once_over_all_calls():
    twins = CodePointTwins()
    engine = Engine(twins, cache_mb=1)
    _, first = engine.score(strings("aab"), strings("bcb"))
    _, second = engine.score(strings("ad"), strings("da"))
    # the first call meets a, b, c; the second a and d, of which a is known
    assert first == {"sentences": 3, "sentences_encoded": 3, "cache_hits": 0}
    assert second == {"sentences": 2, "sentences_encoded": 1, "cache_hits": 1}
    assert set(twins.encoded_rows) == {(ord(letter),) for letter in "abcd"}


def test_without_a_cache_nothing_is_kept_between_calls():
    engine = Engine(CodePointTwins(), cache_mb=0)
    counts = [engine.score(strings("a"), strings("b"))[1] for _ in range(2)]
    assert [count["sentences_encoded"] for count in counts] == [2, 2]


def test_more_pairs_than_one_comparison_takes(monkeypatch):
    monkeypatch.setattr(engine_module, "COMPARE_ROWS", 4)
    words = [chr(97 + number) for number in range(11)]
    compared, _ = Engine(CodePointTwins(), cache_mb=0).score(strings(words), strings(words[::-1]))
    wanted = [expected(a, b) for a, b in zip(words, words[::-1], strict=True)]
    np.testing.assert_allclose(compared["similarity"], wanted, rtol=1e-6)


@pytest.mark.parametrize("threads", [2, 4])
@pytest.mark.parametrize("entries", [0, 50, 100_000])
def test_bytes_do_not_depend_on_the_threads_that_share_an_engine(threads, entries, eager_switching):
    """Dataflow's workers score with two threads, Flink's with one a slot, over one cache."""
    choice = np.random.default_rng(5)
    words = [f"word {number}" for number in range(400)]
    shards = [[strings(choice.choice(words, 20)) for _ in "12"] for _ in range(40)]

    def scores(pool: ThreadPoolExecutor) -> list[bytes]:
        engine = Engine(CodePointTwins(), cache_mb=1, threads=2)
        engine._cache.capacity = entries
        scored = pool.map(lambda shard: engine.score(*shard)[0]["similarity"].tobytes(), shards)
        return list(scored)

    with ThreadPoolExecutor(1) as alone, ThreadPoolExecutor(threads) as many:
        assert scores(many) == scores(alone)
