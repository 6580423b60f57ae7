from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from transforms.evaluation.sentence_priors import (
    SentencePriors,
    add_priors,
    count_sentences,
    no_priors,
)
from transforms.input.shards import plan_shards
from transforms.labels import LabelRule
from transforms.pairs import PairColumns


def texts(*values: str) -> pa.Array:
    return pa.array(values, pa.large_string())


def test_probabilities_by_hand():
    # "a" stands in two pairs of label 1, "b" and "c" in one of them each, "d" and "e" in a pair of
    # label 0. Base: (1 + 1) / (3 + 2) = 0.4 for 0, 0.6 for 1.
    priors = SentencePriors.count(
        texts("a", "c", "d"), texts("b", "a", "e"), np.array([1, 1, 0]), classes=2
    )
    # For ("a", "new"): "a" has (0 + 1 · 0.4) / 3 and (2 + 1 · 0.6) / 3; "new" has the base, so it
    # changes nothing, and the odds of 1 are 0.6/0.4 · (2.6/0.6) / (0.4/0.4) = 6.5.
    found = priors.class_probabilities(texts("a", "new"), texts("new", "newer"))

    assert found[0] == pytest.approx([1 / 7.5, 6.5 / 7.5])
    assert found[1] == pytest.approx([0.4, 0.6])


def test_numbers_by_hand():
    # labels 1 and 4 over "a", 4 over "b"; their mean over the pairs is 2.5
    priors = SentencePriors.count(texts("a", "a"), texts("c", "b"), np.array([1.0, 4.0]), None)
    # "a": (5 + 2.5) / 3 = 2.5; "b": (4 + 2.5) / 2 = 3.25
    assert priors.numbers(texts("a"), texts("b")) == pytest.approx([(2.5 + 3.25) / 2])


def test_parts_add_up_to_the_whole():
    random = np.random.default_rng(1)
    sides = [texts(*(f"s{n}" for n in random.integers(0, 30, 200))) for _ in range(2)]
    labels = random.integers(0, 3, 200)
    whole = SentencePriors.count(*sides, labels, 3)
    halves = [
        SentencePriors.count(
            *(side.slice(*cut) for side in sides), labels[slice(cut[0], sum(cut))], 3
        )
        for cut in ((0, 70), (70, 130))
    ]
    summed = add_priors(halves[::-1], classes=3)

    assert (summed.hashes == whole.hashes).all() and (summed.sums == whole.sums).all()
    assert (summed.total == whole.total).all()


def test_nothing_read_knows_no_sentence():
    seen, sums = no_priors(2).look_up(texts("a"))

    assert not seen.any() and sums.tolist() == [[0, 0]]
    assert no_priors(2).class_probabilities(texts("a"), texts("b")).tolist() == [[0.5, 0.5]]


def test_a_file_is_counted_without_its_unusable_rows(tmp_path):
    table = {"sentence1": ["a", None, "a"], "sentence2": ["b", "b", "c"], "label": ["1", "1", "x"]}
    pq.write_table(pa.table(table), tmp_path / "p.parquet")
    columns = PairColumns(label="label")
    (shard,) = plan_shards([str(tmp_path / "p.parquet")], columns, shard_rows=10)
    found = count_sentences(shard, columns, LabelRule(("0", "1")))

    assert found.total.tolist() == [0, 1]
    assert found.look_up(texts("a", "b", "c"))[0].tolist() == [True, True, False]
