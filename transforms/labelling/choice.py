"""Candidates → the pairs to ask a person about: a random share, and doubtful ones that differ."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa

from transforms.hashing import mix
from transforms.labelling.candidates import (
    CLUSTER,
    DRAW,
    KEY,
    PREDICTED,
    SENTENCE1,
    SENTENCE2,
    SIMILARITY,
    Candidates,
    ChoiceSettings,
    without,
)

CHOSEN_FOR = "chosen_for"
RANDOM, UNCERTAIN = "random", "uncertain"
PAIR = "pair"
MOST_OF_A_SENTENCE = 2
MOST_OF_A_CLUSTER = 3
MOST_SHARED = 0.7  # cosine over character bigrams of two chosen pairs
_DIMENSIONS = 1024


def choose(candidates: Candidates, settings: ChoiceSettings) -> pa.Table:
    """The chosen pairs in a random order, so that no kind comes first.

    Returns:
        `pair` (a stable name), the sentences, `similarity`, `predicted`, `chosen_for`.
    """
    random = choose_random(candidates, settings.random_pairs)
    taken = random.column(KEY).to_numpy()
    uncertain = choose_diverse(
        without(candidates.uncertain, taken), settings.pairs - random.num_rows
    )
    both = pa.concat_tables(
        [
            table.append_column(CHOSEN_FOR, pa.array([name] * table.num_rows, pa.string()))
            for name, table in ((RANDOM, random), (UNCERTAIN, uncertain))
        ]
    )
    both = both.take(np.argsort(mix(both.column(DRAW).to_numpy())))
    names = pair_names(both.column(KEY).to_numpy())
    columns = [SENTENCE1, SENTENCE2, SIMILARITY, PREDICTED, CHOSEN_FOR]
    return both.select(columns).add_column(0, PAIR, names)


def pair_names(keys: np.ndarray) -> pa.Array:
    """Stable names of pairs, whichever way round, from their `pair_hash`: uint64 [n]."""
    return pa.array([f"{key:016x}" for key in keys.tolist()], pa.string())


def choose_random(candidates: Candidates, wanted: int) -> pa.Table:
    """Random pairs, equally many of each predicted class, as far as it has them.

    Precision needs pairs that are called the same, recall mostly those that are not: a plain
    sample would hold few of the rarer kind.
    """
    tables = dict(candidates.random)
    shares = dict.fromkeys(tables, 0)
    open_ = sorted(tables)
    while open_ and sum(shares.values()) < wanted:
        for each in list(open_):
            if shares[each] == tables[each].num_rows:
                open_.remove(each)
            elif sum(shares.values()) < wanted:
                shares[each] += 1
    parts = [tables[each].slice(0, share) for each, share in shares.items()]
    return pa.concat_tables([candidates.uncertain.schema.empty_table(), *parts])


def choose_diverse(table: pa.Table, wanted: int) -> pa.Table:
    """The first rows that differ from one another; the limits are relaxed where too few do.

    Args:
        table: candidates, the most doubtful first.
        wanted: how many.
    """
    vectors = bigram_vectors(table)
    chosen: list[int] = []
    for strict in (True, False):
        for place in _differing(table, vectors, chosen, wanted, strict):
            chosen.append(place)
    rest = [place for place in range(table.num_rows) if place not in set(chosen)]
    return table.take(np.array((chosen + rest)[:wanted], np.int64))


def _differing(
    table: pa.Table, vectors: np.ndarray, chosen: list[int], wanted: int, strict: bool
) -> list[int]:
    sides = [table.column(name).to_pylist() for name in (SENTENCE1, SENTENCE2, CLUSTER)]
    before = set(chosen)
    used: Counter[str] = Counter(sides[k][place] for place in before for k in (0, 1))
    clusters: Counter[str] = Counter(sides[2][place] for place in before)
    kept = np.zeros((wanted, _DIMENSIONS), np.float32)
    kept[: len(chosen)] = vectors[chosen]
    count = len(chosen)
    found = []
    for place in range(table.num_rows):
        if count == wanted:
            break
        one, other, cluster = (side[place] for side in sides)
        if place in before or max(used[one], used[other]) >= MOST_OF_A_SENTENCE:
            continue
        if cluster is not None and clusters[cluster] >= MOST_OF_A_CLUSTER:
            continue
        if strict and count and (kept[:count] @ vectors[place]).max() > MOST_SHARED:
            continue
        kept[count] = vectors[place]
        count += 1
        used[one] += 1
        used[other] += 1
        clusters[cluster] += 1
        found.append(place)
    return found


def bigram_vectors(table: pa.Table) -> np.ndarray:
    """Character bigrams of both sentences, hashed to counts of length one: float32 [n, 1024]."""
    vectors = np.zeros((table.num_rows, _DIMENSIONS), np.float32)
    sides = (table.column(name).to_pylist() for name in (SENTENCE1, SENTENCE2))
    for place, texts in enumerate(zip(*sides, strict=True)):
        for text in texts:
            codes = np.frombuffer(text.encode("utf-32-le"), np.uint32).astype(np.uint64)
            grams = mix(codes[:-1] << np.uint64(32) | codes[1:]) if len(codes) > 1 else mix(codes)
            np.add.at(vectors[place], (grams % np.uint64(_DIMENSIONS)).astype(np.int64), 1)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(lengths, 1e-9)
