"""Bundles with a learned head: the distance proposes, the head decides, the recall is measured."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines import find
from tests.finding_kit import (
    LetterBundle,
    as_pairs,
    brute_force,
    read_pairs,
    run_find,
    table,
    texts,
)
from tests.scoring_kit import write
from transforms.errors import RunError
from transforms.finding.anchors import Anchors, Needed
from transforms.finding.measure import MeasureSettings, choose_search
from transforms.vector_blocks import units


@pytest.fixture(autouse=True)
def letters(monkeypatch):
    """Blocks of about 60 rows, so that there are several, and a bundle that counts letters."""
    monkeypatch.setattr(find, "BundleScorer", LetterBundle)
    monkeypatch.setattr(units, "BLOCK_ROWS", 60)


def check(manifest, found, expected, pairs):
    """What is found is similar, and the measure of what is missed is right."""
    assert found.items() <= expected.items()
    measured, truth = manifest["recall"], manifest["pairs_found"] / len(expected)
    assert measured["low"] <= truth <= measured["high"]
    assert manifest["pairs"] == manifest["pairs_compared"] + manifest["pairs_excluded"] == pairs
    assert manifest["pairs_found"] <= manifest["pairs_proposed"] < pairs


@pytest.mark.parametrize("cells", [0, 8])
@pytest.mark.parametrize("recall", [None, 0.8])
def test_pairs_of_a_table(tmp_path, recall, cells):
    sentences = sorted(set(texts(500)))
    write(tmp_path / "in.parquet", table(sentences))
    flags = "--input", tmp_path / "in.parquet", "--anchors", 300, "--cells", cells
    flags += ("--recall", recall) if recall else ()
    manifest = run_find(tmp_path / "out", *flags, model="head")
    found, count = as_pairs(read_pairs(tmp_path / "out")), len(sentences)
    expected = brute_force(sentences, "head", 0.7)
    check(manifest, found, expected, count * (count - 1) // 2)
    assert len(found) / len(expected) > (recall or 0.99) - 0.07
    assert manifest["options"]["recall"] == (recall or 0.99)
    assert ("visits" in manifest) == (cells > 0)


def test_pairs_of_two_tables(tmp_path):
    left, right = sorted(set(texts(200, 2))), sorted(set(texts(300, 3)))
    write(tmp_path / "a.parquet", table(left))
    write(tmp_path / "b.parquet", table(right))
    flags = "--left", tmp_path / "a.parquet", "--right", tmp_path / "b.parquet", "--recall", 0.9
    manifest = run_find(tmp_path / "out", *flags, model="head")
    expected = brute_force(left, "head", 0.7, right)
    check(manifest, as_pairs(read_pairs(tmp_path / "out")), expected, len(left) * len(right))


def test_the_most_similar_by_a_head(tmp_path):
    sentences = sorted(set(texts(500)))
    write(tmp_path / "in.parquet", table(sentences))
    flags = "--input", tmp_path / "in.parquet", "--top_k", 2, "--min_similarity", 0.5
    manifest = run_find(tmp_path / "out", *flags, "--anchors", 500, model="head")
    found, all_pairs = as_pairs(read_pairs(tmp_path / "out")), brute_force(sentences, "head", 0.5)
    assert found.items() <= all_pairs.items()
    wanted = hits = 0
    for row in range(len(sentences)):
        of_row = [(similar, pair) for pair, similar in all_pairs.items() if row in pair]
        least = sorted((similar for similar, _ in of_row), reverse=True)[:2][-1:]
        wanted += min(2, len(of_row))
        hits += min(2, sum(s >= least[0] for s, pair in of_row if pair in found)) if least else 0
    assert manifest["recall"]["low"] <= hits / wanted
    assert manifest["recall"]["anchors"] > 100


def settings(**more):
    return MeasureSettings("out", 0.5, 0.5, 4, (("left", 0),), proposes=True, **more)


def anchors(among):
    return [Anchors(0, np.arange(4), np.zeros((4, 2), np.float32), among)]


def needed(which, apart):
    ones = np.ones(len(which), np.int64)
    return Needed(np.array(which), ones.astype("f4"), ones, ones, np.array(apart, np.float32))


def test_one_half_chooses_the_distance_and_the_other_judges_it():
    """Anchors 0 and 2 choose: half of their pairs are within 0.25. Of 1 and 3, two of three are."""
    found = needed([0, 0, 2, 2, 1, 3, 3], [0.125, 0.25, 0.5, 0.75, 0.25, 0.125, 0.375])
    chosen = choose_search([found], anchors(9), None, settings())
    assert (chosen.radius, chosen.visits) == (0.25, None)
    assert (chosen.recall.found, chosen.recall.pairs, chosen.recall.anchors) == (2, 3, 2)


def test_with_no_similar_pair_it_is_not_known_where_to_search():
    nothing = needed(np.zeros(0, np.int64), [])
    with pytest.raises(RunError, match="--anchors"):
        choose_search([nothing], anchors(9), None, settings())
    assert choose_search([nothing], anchors(4), None, settings()).radius == 0  # all were searched
