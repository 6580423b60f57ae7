"""A small real bundle, made by the real commands once for all tests that need one."""

from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import preprocess, train

RECIPE = """
name: tiny
description: a small stacked BiLSTM for tests
source: made up
task: binary
labels: {classes: ["0", "1"]}
text: {tokenizer: char}
embedding: {dimensions: 8}
encoder: {kind: bilstm, units: [6, 4], dropout: 0.1, pooling: last}
comparison: {kind: manhattan}
loss: {kind: binary_crossentropy}
training: {epochs: 2, batch_size: 32, optimizer: nadam, learning_rate: 0.01}
"""
TOPICS = ("refund", "delivery", "password", "退款", "快递", "账号", "invoice", "discount")
FORMS = ("how do I get my {}", "where is my {}?", "{} 怎么办", "help with {} please", "{}在哪里")


def pairs(rows: int) -> pa.Table:
    """Questions about topics; label 1 where the topic is the same."""
    first, second = [], []
    for row in range(rows):
        topic = TOPICS[row % len(TOPICS)]
        other = topic if row % 2 else TOPICS[(row * 7 + 3) % len(TOPICS)]
        first.append(FORMS[row % len(FORMS)].format(topic))
        second.append(FORMS[(row // 3) % len(FORMS)].format(other) + "!" * (row % 11))
    label = [row % 2 for row in range(rows)]
    columns = {"id": range(rows), "sentence1": first, "sentence2": second, "label": label}
    return pa.table({name: pa.array(values) for name, values in columns.items()})


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> SimpleNamespace:
    """Folders of a run: `examples` and `bundle`, both to be read only."""
    folder: Path = tmp_path_factory.mktemp("tiny")
    (folder / "tiny.yaml").write_text(RECIPE)
    pq.write_table(pairs(600), folder / "labelled.parquet", row_group_size=200)
    examples, bundle = str(folder / "examples"), str(folder / "bundle")
    labelled, recipe = str(folder / "labelled.parquet"), str(folder / "tiny.yaml")
    flags = ["--input", labelled, "--recipe", recipe, "--output", examples, "--train_shards", "2"]
    preprocess.run(flags)
    train.run(["--examples", examples, "--output", bundle])
    return SimpleNamespace(folder=folder, examples=examples, bundle=bundle)
