"""Pairs to train on: near and labelled apart, near and not labelled, and positives."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from pipelines import find, preprocess, train
from tests.finding_kit import LetterBundle, brute_force, read_pairs, run_find, table, texts
from tests.model.tiny_recipes import values
from tests.scoring_kit import write
from transforms.errors import UserError
from transforms.vector_blocks import units


@pytest.fixture(autouse=True)
def letters(monkeypatch):
    """Blocks of about 60 rows, so that there are several, and a bundle that counts letters."""
    monkeypatch.setattr(find, "BundleScorer", LetterBundle)
    monkeypatch.setattr(units, "BLOCK_ROWS", 60)


@pytest.fixture
def labelled(tmp_path):
    """Sentences, some twice, and labels of a part of their near pairs: far letters are apart."""
    sentences = texts(150, 3)
    near = brute_force(sentences, "manhattan", 0.5)
    of_sentences = {frozenset((sentences[a], sentences[b])): s for (a, b), s in near.items()}
    of_sentences = {tuple(sorted(pair)): s for pair, s in of_sentences.items() if len(pair) == 2}
    known = dict(sorted(of_sentences.items())[::2])
    rows = [(b, a, int(s > 0.7)) for (a, b), s in known.items()]
    columns = dict(zip(("sentence1", "sentence2", "label"), zip(*rows, strict=True), strict=True))
    write(tmp_path / "labelled.parquet", pa.table(columns))
    write(tmp_path / "in.parquet", table(sentences))
    return tmp_path, of_sentences, known


def test_each_near_pair_is_there_once_with_what_is_known_of_it(labelled):
    folder, near, known = labelled
    flags = "--input", folder / "in.parquet", "--labelled", folder / "labelled.parquet"
    more = "--min_similarity", 0.5, "--max_similarity", 0.8
    manifest = run_find(folder / "out", *flags, *more)
    found = read_pairs(folder / "out").to_pylist()
    labelled = {
        tuple(sorted((row["sentence1"], row["sentence2"]))): (row["label"], row["label_source"])
        for row in found
    }
    assert len(labelled) == len(found)
    expected = {pair: (int(s > 0.7), "labelled") for pair, s in known.items()}
    unlabelled = {pair: s for pair, s in near.items() if pair not in known}
    expected |= {pair: (0, "unlabelled") for pair, s in unlabelled.items() if s <= 0.8}
    assert labelled == expected
    assert manifest["pairs_unsure"] == sum(s > 0.8 for s in unlabelled.values()) > 0


def test_other_labels_are_another_run(labelled):
    folder, _, _ = labelled
    flags = "--input", folder / "in.parquet", "--labelled", folder / "labelled.parquet"
    run_find(folder / "out", *flags)
    rows = pq.read_table(folder / "labelled.parquet").slice(1)
    pq.write_table(rows, folder / "labelled.parquet")
    with pytest.raises(UserError, match="--overwrite"):
        run_find(folder / "out", *flags)


def test_the_limit_needs_labels(tmp_path):
    with pytest.raises(UserError, match="--labelled"):
        run_find(tmp_path / "out", "--input", tmp_path / "in.parquet", "--max_similarity", 0.8)


def train_on(inputs, recipe, folder):
    """Preprocesses and trains for an epoch; returns what came of both."""
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    words = ["--recipe", str(path), "--output", str(folder / "examples")]
    made = preprocess.run(["--input", *map(str, inputs), *words])
    words = ["--examples", str(folder / "examples"), "--output", str(folder / "bundle")]
    train.run([*words, "--epochs", "1"])
    return made, folder / "bundle"


@pytest.mark.slow
def test_hard_negatives_are_trained_on_with_the_labelled_pairs(labelled):
    folder, _, known = labelled
    flags = "--input", folder / "in.parquet", "--labelled", folder / "labelled.parquet"
    manifest = run_find(folder / "out", *flags, "--min_similarity", 0.5, "--max_similarity", 0.8)
    inputs = [folder / "labelled.parquet", folder / "out" / "*.parquet"]
    made, bundle = train_on(inputs, values(), folder)
    assert made["rows_rejected"] == 0
    assert made["rows_in"] == len(known) + manifest["rows_written"]
    assert (bundle / "manifest.json").exists()


@pytest.mark.slow
def test_what_was_found_are_positives_for_multiple_negatives(labelled):
    folder, _, _ = labelled
    manifest = run_find(folder / "out", "--input", folder / "in.parquet", "--min_similarity", 0.8)
    loss = {"kind": "multiple_negatives"}
    recipe = values(labels=None, comparison={"kind": "cosine"}, loss=loss)
    made, bundle = train_on([folder / "out" / "*.parquet"], recipe, folder)
    assert made["rows_in"] == manifest["rows_written"]
    assert (bundle / "manifest.json").exists()
