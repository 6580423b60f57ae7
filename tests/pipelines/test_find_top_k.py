"""The most similar sentences of each, held against brute force: of one table, and with old rows."""

from __future__ import annotations

import json
from collections import defaultdict

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
from transforms.accounts import shard_account
from transforms.finding import find_pairs
from transforms.vector_blocks import units


@pytest.fixture(autouse=True)
def letters(monkeypatch):
    """Blocks of about 60 rows, so that there are several, and a bundle that counts letters."""
    monkeypatch.setattr(find, "BundleScorer", LetterBundle)
    monkeypatch.setattr(units, "BLOCK_ROWS", 60)


def best_of(pairs, count, asking):
    """The similarities of the best partners of each sentence that asks."""
    found = defaultdict(list)
    for (one, other), similar in pairs.items():
        for row in {one, other} & asking:
            found[row].append(similar)
    return {row: sorted(all_of, reverse=True)[:count] for row, all_of in found.items()}


def check_best(found, expected, count, asking):
    """Each sentence has its best partners, and each pair is there for one of its sentences."""
    assert found.items() <= expected.items()
    wanted, best = best_of(expected, count, asking), best_of(found, count, asking)
    assert wanted == best
    for (one, other), similar in found.items():
        assert any(row in asking and similar >= wanted[row][-1] for row in (one, other))


@pytest.mark.parametrize("cells", [0, 9])
@pytest.mark.parametrize("distance", ["cosine", "euclidean", "manhattan"])
def test_the_most_similar_of_the_same_table(tmp_path, distance, cells):
    sentences = sorted(set(texts(330, 8)))
    write(tmp_path / "in.parquet", table(sentences))
    flags = "--input", tmp_path / "in.parquet", "--top_k", 3, "--cells", cells
    manifest = run_find(tmp_path / "out", *flags, "--min_similarity", 0.4, model=distance)
    written = read_pairs(tmp_path / "out")
    found = as_pairs(written)
    assert len(found) == written.num_rows == manifest["pairs_found"]  # none is there twice
    assert all(one < other for one, other in found)
    check_best(found, brute_force(sentences, distance, 0.4), 3, set(range(len(sentences))))
    assert len(found) < len(brute_force(sentences, distance, 0.4))
    assert manifest["pairs"] == len(sentences) * (len(sentences) - 1) // 2
    assert manifest["pairs"] == manifest["pairs_compared"] + manifest["pairs_excluded"]
    # Sentences of a cosine of 0.4 may be further apart than any two cells of these.
    assert (manifest["pairs_excluded"] > 0) == (cells > 0 and distance != "cosine")


def test_rows_with_equal_sentences_are_paired_besides(tmp_path):
    write(tmp_path / "in.parquet", table(["abc", "abc", "abd", "h"]))
    flags = "--input", tmp_path / "in.parquet", "--top_k", 1, "--min_similarity", 0.4
    run_find(tmp_path / "out", *flags)
    assert as_pairs(read_pairs(tmp_path / "out")).keys() == {(0, 1), (0, 2), (1, 2)}


def test_new_rows_have_their_best_among_new_and_old_ones(tmp_path):
    drawn = sorted(set(texts(300, 4)))
    old, new = drawn[::2][:110], drawn[1::2][:90]
    write(tmp_path / "old.parquet", table(old, list(range(1000, 1000 + len(old)))))
    write(tmp_path / "new.parquet", table(new))
    flags = "--input", tmp_path / "new.parquet", "--against", tmp_path / "old.parquet"
    run_find(tmp_path / "out", *flags, "--top_k", 2, "--min_similarity", 0.3)
    expected = brute_force(new, "manhattan", 0.3)
    across = brute_force(new, "manhattan", 0.3, old)
    expected |= {(row, 1000 + other): similar for (row, other), similar in across.items()}
    check_best(as_pairs(read_pairs(tmp_path / "out")), expected, 2, set(range(len(new))))


@pytest.mark.parametrize("recall", [0.6, 0.95])
def test_its_recall_is_measured(tmp_path, recall):
    sentences = sorted(set(texts(700, 5)))
    write(tmp_path / "in.parquet", table(sentences))
    flags = "--input", tmp_path / "in.parquet", "--top_k", 4, "--recall", recall, "--cells", 12
    more = "--anchors", 400, "--min_similarity", 0.1
    manifest = run_find(tmp_path / "out", *flags, *more, model="euclidean")
    found = as_pairs(read_pairs(tmp_path / "out"))
    everyone = set(range(len(sentences)))
    wanted = best_of(brute_force(sentences, "euclidean", 0.1), 4, everyone)
    best = best_of(found, 4, everyone)
    hits = sum(similar >= wanted[row][-1] for row, all_of in best.items() for similar in all_of)
    truth = hits / sum(map(len, wanted.values()))
    assert manifest["recall"]["low"] - 0.02 <= truth  # what others list comes on top
    assert manifest["recall"]["pairs"] > 0
    assert 1 <= manifest["visits"] <= 12
    assert manifest["pairs"] == manifest["pairs_compared"] + manifest["pairs_excluded"]


def test_a_run_that_died_between_lists_and_pairs_leaves_the_same_bytes(tmp_path, monkeypatch):
    write(tmp_path / "in.parquet", table(texts(200)))
    flags = "--input", tmp_path / "in.parquet", "--top_k", 2
    run_find(tmp_path / "undisturbed", *flags)
    real, calls = find_pairs.as_owned, []

    def die(*args):
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("killed")
        return real(*args)

    monkeypatch.setattr(find_pairs, "as_owned", die)
    with pytest.raises(RuntimeError, match="killed"):
        run_find(tmp_path / "out", *flags)
    monkeypatch.setattr(find_pairs, "as_owned", real)
    manifest = run_find(tmp_path / "out", *flags)
    undisturbed = json.loads((tmp_path / "undisturbed" / shard_account.MANIFEST).read_text())
    assert manifest["files"] == undisturbed["files"]
