"""Every kind of odd label, through preprocessing: an example with the right number, or a reject."""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from pipelines import preprocess

BAD, MISSING = "label_invalid", "label_null"
RECIPE = """
name: labels
description: a test
source: none
task: TASK
labels: LABELS
text: {tokenizer: char}
embedding: {dimensions: 4}
encoder: {kind: cnn, filters: 2}
comparison: {kind: COMPARISON}
loss: {kind: LOSS}
"""
NAN, INFINITY = float("nan"), float("inf")

# name → column of labels, and for each the number it means or why its row is rejected
CLASSES: dict[str, tuple[pa.Array, list[float | str]]] = {
    "integers": (pa.array([0, 1, None, 2, -1]), [0, 1, MISSING, BAD, BAD]),
    "small integers": (pa.array([1, 0, 255], pa.uint8()), [1, 0, BAD]),
    "floats": (
        pa.array([0.0, 1.0, 0.5, NAN, INFINITY, -0.0, None]),
        [0, 1, BAD, BAD, BAD, 0, MISSING],
    ),
    "half floats": (pa.array([0.0, 1.0], pa.float16()), [0, 1]),
    "booleans": (pa.array([True, False, None]), [1, 0, MISSING]),
    "text": (
        pa.array(["1", " 0 ", "", "yes", "1.0", "01", None]),
        [1, 0, BAD, BAD, BAD, BAD, MISSING],
    ),
    "large text": (pa.array(["0", "no"], pa.large_string()), [0, BAD]),
    "text views": (pa.array(["1", "２"], pa.string_view()), [1, BAD]),
    "dictionary": (pa.array(["1", "0", "?", None]).dictionary_encode(), [1, 0, BAD, MISSING]),
    "decimals": (pa.array([Decimal("1.00"), Decimal("0.50")], pa.decimal128(5, 2)), [1, BAD]),
    "nulls alone": (pa.array([None, None], pa.int64()), [MISSING, MISSING]),
}
NUMBERS: dict[str, tuple[pa.Array, list[float | str]]] = {
    "integers": (pa.array([0, 5, 6, -1, None]), [0, 5, BAD, BAD, MISSING]),
    "floats": (
        pa.array([0.0, 2.5, 5.0, 5.0001, -0.0001, NAN, -INFINITY]),
        [0, 2.5, 5, BAD, BAD, BAD, BAD],
    ),
    "text": (
        pa.array(["3.5", " 1e0 ", "four", "", "nan", "inf", "0x1", None]),
        [3.5, 1, BAD, BAD, BAD, BAD, BAD, MISSING],
    ),
    "decimals": (pa.array([Decimal("4.25"), Decimal("5.25")], pa.decimal128(5, 2)), [4.25, BAD]),
}
BINARY = ("binary", '{classes: ["0", "1"]}', "manhattan", "binary_crossentropy")
REGRESSION = ("regression", "{minimum: 0, maximum: 5}", "cosine", "cosine_mse")


@pytest.mark.parametrize(("cases", "kind"), [(CLASSES, BINARY), (NUMBERS, REGRESSION)])
def test_each_label_is_read_or_its_row_is_rejected(tmp_path, cases, kind):
    expected: dict[str, float | str] = {}
    for number, (labels, fates) in enumerate(cases.values()):
        assert len(labels) == len(fates)
        path = tmp_path / f"{number}.parquet"
        # The sentence says which case it is, so that an example tells where it came from.
        names = [chr(0x4E00 + 100 * number + row) for row in range(len(labels))]
        pq.write_table(pa.table({"sentence1": names, "sentence2": names, "label": labels}), path)
        expected.update(zip(names, fates, strict=True))

    manifest = run(tmp_path, kind)

    found: dict[str, float | str] = dict(examples(tmp_path / "out"))
    for path in (tmp_path / "out" / "_rejects").glob("*"):
        for row in pq.read_table(path).to_pylist():
            found[row["sentence1"]] = row["reject_reason"]
    assert found == expected  # each row once: the names differ
    reasons = Counter(fate for fate in expected.values() if isinstance(fate, str))
    assert manifest["rejected_by_reason"] == reasons
    assert manifest["rows_in"] == len(expected) == manifest["rows_train"] + reasons.total()


def run(folder: Path, kind: tuple[str, ...], **more: str) -> dict:
    text = RECIPE
    for name, value in zip(("TASK", "LABELS", "COMPARISON", "LOSS"), kind, strict=True):
        text = text.replace(name, value)
    (folder / "recipe.yaml").write_text(text)
    flags = {
        "input": f"{folder}/*.parquet",
        "recipe": folder / "recipe.yaml",
        "output": folder / "out",
        "train_shards": 1,
        "eval_fraction": 0,
        "max_reject_fraction": 1,
        **more,
    }
    preprocess.run([f"--{name}={value}" for name, value in flags.items()])
    return json.loads((folder / "out" / "manifest.json").read_text())


def examples(folder: Path) -> list[tuple[str, float]]:
    """Sentence and label of every example; the vocabulary file says what an id is."""
    vocabulary = (folder / "transform_fn/assets/vocabulary").read_text().splitlines()
    found = []
    for record in tf.data.TFRecordDataset([str(p) for p in folder.glob("*.tfrecord.gz")], "GZIP"):
        feature = tf.train.Example.FromString(record.numpy()).features.feature
        (token,) = feature["ids1"].int64_list.value
        found.append((vocabulary[token - 2], feature["label"].float_list.value[0]))
    return found


def test_a_bad_file_stops_preprocessing_or_is_left_out_by_choice_and_named(tmp_path, capsys):
    table = pa.table({"sentence1": ["a"], "sentence2": ["b"], "label": [1]})
    pq.write_table(table, tmp_path / "0.parquet")
    (tmp_path / "1.parquet").write_bytes(b"no Parquet")
    with pytest.raises(ValueError, match=r"1\.parquet.*--on_bad_file=reject"):
        run(tmp_path, BINARY)
    assert not (tmp_path / "out").exists()
    manifest = run(tmp_path, BINARY, on_bad_file="reject")
    (left_out,) = manifest["files_rejected"]
    assert left_out["source"] == f"{tmp_path}/1.parquet" and manifest["rows_in"] == 1
    assert f"left out: {tmp_path}/1.parquet" in capsys.readouterr().out
