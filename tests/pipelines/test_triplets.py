"""Given triplets, from a table with three sentences a row to scores."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import preprocess, score, train
from tests.pipelines.test_preprocess import read_examples
from transforms.errors import UserError

RECIPE = """
name: given
description: a test
source: none
task: binary
labels: {classes: ["0", "1"]}
text: {tokenizer: word, eval_fraction: 0.2}
embedding: {dimensions: 16}
encoder: {kind: cnn, filters: 16, widths: [1]}
comparison: {kind: euclidean}
loss: {kind: triplet, mining: given, margin: 1.0}
training: {epochs: 8, batch_size: 32, learning_rate: 0.01}
"""
SUBJECTS = ["card", "loan", "rate", "bill", "code", "bank", "fee", "pin"]
FILLERS = ["please", "hello", "now", "again", "today", "quickly", "sir", "really"]


def sentence(rng, subject: int) -> str:
    words = [SUBJECTS[subject], *rng.choice(FILLERS, 2, replace=False)]
    return " ".join(rng.permutation(words))


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A folder with triplets whose positives speak of the anchor's subject."""
    folder, rng = tmp_path_factory.mktemp("triplets"), np.random.default_rng(0)
    rows = []
    for _ in range(600):
        subject = int(rng.integers(len(SUBJECTS)))
        other = (subject + int(rng.integers(1, len(SUBJECTS)))) % len(SUBJECTS)
        rows.append([sentence(rng, s) for s in (subject, subject, other)])
    rows.append(["card now", "card today", None])
    columns = dict(
        zip(("anchor", "like", "unlike"), map(list, zip(*rows, strict=True)), strict=True)
    )
    pq.write_table(pa.table(columns), folder / "triplets.parquet")
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder


def prepare(folder, output, *flags):
    return preprocess.run(
        ["--input", f"{folder}/triplets.parquet", "--recipe", f"{folder}/recipe.yaml",
         "--output", str(output), "--train_shards=2", "--sentence1_column=anchor",
         "--sentence2_column=like", *flags]
    )  # fmt: skip


def test_triplets_are_trained_on_as_they_are_given(given, tmp_path):
    examples, bundle, scores = (tmp_path / name for name in ("examples", "bundle", "scores"))
    manifest = prepare(given, examples, "--negative_column=unlike")
    assert manifest["rejected_by_reason"] == {"sentence_null": 1}
    assert manifest["rows_train"] + manifest["rows_eval"] == 600
    assert sum(manifest["sentence_length_histogram"].values()) == 3 * 600

    table = pq.read_table(given / "triplets.parquet").slice(0, 600).to_pylist()
    assets = (examples / "transform_fn/assets/vocabulary").read_text().splitlines()
    ids = {word: number for number, word in enumerate(assets, start=2)}
    expected = sorted(
        tuple(tuple(ids[w] for w in text.split()) for text in row.values()) for row in table
    )
    sides = ("ids1", "ids2", "ids3")
    stored = [
        row for part in ("train", "eval") for row in read_examples(examples, part, names=sides)
    ]
    assert sorted(row[:3] for row in stored) == expected
    assert {row[3] for row in stored} == {1.0}

    metrics = train.run(["--examples", str(examples), "--output", str(bundle)])
    assert metrics["rows_eval"] == 2 * manifest["rows_eval"]  # each triplet is two pairs
    assert metrics["eval_accuracy"] > 0.95

    pairs = {"sentence1": ["card now", "card now"], "sentence2": ["sir card", "loan now"]}
    pq.write_table(pa.table(pairs), tmp_path / "pairs.parquet")
    score.run(
        ["--input", f"{tmp_path}/pairs.parquet", "--model", str(bundle), "--output", str(scores)]
    )
    scored = pd.concat(map(pd.read_parquet, scores.glob("*.parquet")))
    assert scored["similarity_label"].tolist() == [1, 0]


def test_the_negative_column_is_asked_for_by_its_name(given, tmp_path):
    with pytest.raises(UserError, match=r"no column 'negative'.*--negative_column"):
        prepare(given, tmp_path / "examples")
    with pytest.raises(UserError, match="--negative_column.*'anchor'|'anchor'.*expected two"):
        prepare(given, tmp_path / "examples", "--negative_column=anchor")
