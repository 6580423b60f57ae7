"""Scored rows → the few that may be chosen for labelling: bounded, whatever the input's size.

Two kinds of candidates are kept. The random ones of a predicted class are those with the smallest
hashes of their pair under the seed (a bottom-k sample: uniform over different pairs, the same
whatever the order and the cuts of the input). The uncertain ones are those nearest the threshold,
or those on which several models differ most.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.columns import plain
from transforms.hashing import mix, pair_hash, text_hash
from transforms.pairs import PairColumns, sentences

KEY, DRAW, DOUBT, FIRST, PREDICTED = "key", "draw", "doubt", "first", "predicted"
SENTENCE1, SENTENCE2, SIMILARITY, CLUSTER = "sentence1", "sentence2", "similarity", "cluster"
LABELLED, UNUSABLE, EQUAL = "labelled", "unusable", "equal_sentences"
CANDIDATES_EACH = 20  # for each uncertain pair wanted, so that a diverse choice is possible
SCHEMA = pa.schema(
    {
        KEY: pa.uint64(),
        DRAW: pa.uint64(),
        DOUBT: pa.float64(),
        FIRST: pa.uint64(),
        PREDICTED: pa.int64(),
        SENTENCE1: pa.large_string(),
        SENTENCE2: pa.large_string(),
        SIMILARITY: pa.float64(),
        CLUSTER: pa.large_string(),
    }
)


@dataclass(frozen=True)
class ChoiceSettings:
    """What is chosen from scored pairs.

    Attributes:
        pairs: how many.
        random_pairs: how many of them at random.
        columns: the sentence columns.
        similarities: columns of similarity; of several, those pairs where they differ most.
        threshold: same from this similarity on.
        cluster: a column by which pairs belong together, None where there is none.
        seed: another seed is another choice.
        labelled: `pair_hash` of pairs that have a label already, sorted: uint64 [n].
    """

    pairs: int
    random_pairs: int
    columns: PairColumns = field(default_factory=PairColumns)
    similarities: tuple[str, ...] = ("similarity",)
    threshold: float = 0.5
    cluster: str | None = None
    seed: int = 0
    labelled: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint64))

    def needed(self) -> list[str]:
        """The columns that are read."""
        more = [self.cluster] if self.cluster else []
        return list(dict.fromkeys([*self.columns.sides, *self.similarities, *more]))

    @property
    def uncertain_kept(self) -> int:
        """How many uncertain candidates are kept."""
        return CANDIDATES_EACH * (self.pairs - self.random_pairs)


@dataclass(frozen=True)
class Candidates:
    """What may be chosen from the rows seen so far.

    Attributes:
        random: by predicted class, the pairs with the smallest draws.
        uncertain: the pairs of most doubt.
        rows: usable rows by predicted class.
        skipped: rows that cannot be chosen, by reason.
    """

    random: dict[int, pa.Table] = field(default_factory=dict)
    uncertain: pa.Table = field(default_factory=SCHEMA.empty_table)
    rows: Counter[int] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)

    def with_more(self, other: Candidates, settings: ChoiceSettings) -> Candidates:
        """Those of both, cut to what is kept."""
        classes = sorted({*self.random, *other.random})
        empty = SCHEMA.empty_table()
        random = {
            each: first_pairs(
                [self.random.get(each, empty), other.random.get(each, empty)],
                [DRAW],
                settings.random_pairs,
            )
            for each in classes
        }
        uncertain = first_pairs(
            [self.uncertain, other.uncertain], [DOUBT, DRAW], settings.uncertain_kept
        )
        return Candidates(random, uncertain, self.rows + other.rows, self.skipped + other.skipped)


def first_pairs(tables: list[pa.Table], order: list[str], most: int) -> pa.Table:
    """The first rows in an order, each pair once: [at most `most`].

    Of rows of the same pair that one stays whose doubt is least, then whose first sentence has the
    smaller hash: the same whatever came first.
    """
    table = pa.concat_tables(tables)
    # np.lexsort sorts by its last key first. The sort ends in the row's own values, so of several
    # rows of one pair the same one comes first in every run; np.unique finds that one.
    keys = [*order, KEY, DOUBT, FIRST]
    columns = [table.column(name).to_numpy() for name in reversed(keys)]
    sort = np.lexsort(columns)
    _, places = np.unique(table.column(KEY).to_numpy()[sort], return_index=True)
    return table.take(sort[np.sort(places)[:most]]).combine_chunks()


def candidates_of(batch: pa.RecordBatch, settings: ChoiceSettings) -> Candidates:
    """The candidates among the rows of one batch."""
    table, skipped = usable_rows(batch, settings)
    predicted = table.column(PREDICTED).to_numpy()
    found = Candidates(
        random={
            each: table.filter(pa.array(predicted == each))
            for each in np.unique(predicted).tolist()
        },
        uncertain=table,
        rows=Counter(predicted.tolist()),
        skipped=skipped,
    )
    return Candidates().with_more(found, settings)


def usable_rows(batch: pa.RecordBatch, settings: ChoiceSettings) -> tuple[pa.Table, Counter[str]]:
    """The rows that a person can label, in `SCHEMA`, and how many others, by reason."""
    sides = [sentences(batch, name) for name in settings.columns.sides]
    scores = np.stack([_numbers(batch.column(name)) for name in settings.similarities])
    usable = np.isfinite(scores).all(axis=0)
    for side in sides:
        usable &= ~_flags(pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(side)), 0), null=True)
    sides = [pc.fill_null(side, "") for side in sides]
    equal = usable & _flags(pc.equal(*sides))
    key = pair_hash(*sides)
    known = usable & ~equal & np.isin(key, settings.labelled)
    keep = usable & ~equal & ~known
    score = scores[0].astype(np.float32)
    clusters = batch.column(settings.cluster) if settings.cluster else pa.nulls(len(key))
    table = pa.table(
        {
            KEY: key,
            # By the pair alone: however often and wherever it occurs, it is drawn once or not at
            # all.
            DRAW: mix(key ^ mix(np.full(1, settings.seed, np.uint64))),
            DOUBT: uncertainty(scores, settings.threshold),
            FIRST: text_hash(sides[0]),
            PREDICTED: (score >= np.float32(settings.threshold)).astype(np.int64),
            SENTENCE1: sides[0],
            SENTENCE2: sides[1],
            SIMILARITY: scores[0],
            CLUSTER: plain(clusters).cast(pa.large_string()),
        },
        schema=SCHEMA,
    )
    counts = {UNUSABLE: ~usable, EQUAL: equal, LABELLED: known}
    return table.filter(pa.array(keep)), +Counter({k: int(v.sum()) for k, v in counts.items()})


def uncertainty(scores: np.ndarray, threshold: float) -> np.ndarray:
    """How sure the models are, the least sure first: [models, n] → [n].

    One model: the distance to the threshold. Several: the spread of their similarities, negative,
    so that those on which they differ most come first (query by committee, Seung et al. 1992).
    """
    if len(scores) == 1:
        return np.abs(scores[0] - threshold)
    return scores.min(axis=0) - scores.max(axis=0)


def without(table: pa.Table, taken: np.ndarray) -> pa.Table:
    """The rows whose pairs are not among those taken: keys, uint64 [n]."""
    return table.filter(pa.array(~np.isin(table.column(KEY).to_numpy(), taken)))


def _numbers(array: pa.Array) -> np.ndarray:
    numbers = plain(array).cast(pa.float64(), safe=False)
    return pc.fill_null(numbers, np.nan).to_numpy(zero_copy_only=False)


def _flags(array: pa.Array, *, null: bool = False) -> np.ndarray:
    return pc.fill_null(array, null).to_numpy(zero_copy_only=False)


def with_labelled(settings: ChoiceSettings, keys: np.ndarray) -> ChoiceSettings:
    """The same, with pairs that have a label already."""
    return replace(settings, labelled=np.unique(keys))
