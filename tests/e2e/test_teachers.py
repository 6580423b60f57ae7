"""Students of bundles: the recipe names its teachers, and `preprocess` asks them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
import yaml

from model.bundle.loading import load
from pipelines import preprocess, score, train
from tests.e2e.conftest import RECIPE, pairs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def student(folder: Path, **distill) -> str:
    """The file of a student's recipe, a bag of characters' convolutions."""
    values = yaml.safe_load(RECIPE) | {
        "name": "student",
        "encoder": {"kind": "cnn", "filters": 8},
        "distill": distill,
    }
    path = folder / "student.yaml"
    path.write_text(yaml.safe_dump(values))
    return str(path)


def half_labelled(rows: int) -> pa.Table:
    """Pairs of which every third has no label."""
    table = pairs(rows)
    labels = [
        None if row % 3 == 0 else label for row, label in enumerate(table["label"].to_pylist())
    ]
    return table.set_column(3, "label", pa.array(labels, pa.int64()))


@pytest.fixture(scope="module")
def taught(tiny, tmp_path_factory):
    """Examples of a student with two teachers, one of them the other's pupil."""
    folder = tmp_path_factory.mktemp("taught")
    pq.write_table(half_labelled(300), folder / "pairs.parquet", row_group_size=100)
    second = str(folder / "second")
    train.run(["--examples", tiny.examples, "--output", second, "--epochs", "1", "--seed", "7"])
    recipe = student(folder, teacher=[tiny.bundle, second], weight=0.8)
    flags = ["--input", str(folder / "pairs.parquet"), "--recipe", recipe, "--train_shards", "2"]
    flags += ["--output", str(folder / "examples")]
    preprocess.run(flags)
    return folder, flags, [tiny.bundle, second]


def scores_of(folder: Path, bundle: str, name: str) -> np.ndarray:
    """What `score` says of the pairs by itself, in their order."""
    output = folder / name
    score.run(
        ["--input", str(folder / "pairs.parquet"), "--model", bundle, "--output", str(output)]
    )
    tables = [pq.read_table(path) for path in sorted(output.glob("*.parquet"))]
    table = pa.concat_tables(tables).sort_by("id")
    return table["similarity"].to_numpy()


def examples_of(folder: Path) -> list[tuple[float, float]]:
    """Label (NaN where there is none) and teacher's score of all examples."""
    found = []
    for path in sorted((folder / "examples").glob("*.tfrecord.gz")):
        for record in tf.data.TFRecordDataset(str(path), "GZIP").as_numpy_iterator():
            values = tf.train.Example.FromString(record).features.feature
            number = {name: values[name].float_list.value[0] for name in ("label", "teacher")}
            found.append((number["label"], number["teacher"]))
    return found


def test_examples_hold_the_mean_of_the_teachers_scores(taught):
    folder, _, bundles = taught
    means = np.mean([scores_of(folder, each, f"s{n}") for n, each in enumerate(bundles)], axis=0)
    labels = half_labelled(300)["label"].to_pylist()
    expected = sorted(
        (round(float(mean), 5), -1 if label is None else label)
        for mean, label in zip(means, labels, strict=True)
    )
    found = sorted(
        (round(teacher, 5), -1 if np.isnan(label) else int(label))
        for label, teacher in examples_of(folder)
    )
    assert [label for _, label in found] == [label for _, label in expected]
    np.testing.assert_allclose([s for s, _ in found], [s for s, _ in expected], atol=2e-5)


def test_each_distinct_sentence_is_encoded_once_by_each_teacher(taught):
    folder, _, bundles = taught
    table = half_labelled(300)
    distinct = {*table["sentence1"].to_pylist(), *table["sentence2"].to_pylist()}
    manifest = json.loads((folder / "examples" / "manifest.json").read_text())
    assert [each["path"] for each in manifest["teachers"]] == bundles
    for each in manifest["teachers"]:
        scored = json.loads((Path(each["scores"]) / "_manifest.json").read_text())
        assert scored["sentences_encoded"] == len(distinct)
        assert each["rows_in"] == 300 and each["rows_rejected"] == 0


def test_the_same_command_again_asks_nobody(taught, capsys):
    folder, flags, _ = taught
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    preprocess.run(flags)
    assert capsys.readouterr().out.count("is complete already") == 3
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_a_student_learns_what_its_teachers_say(taught, tiny):
    """Its teachers alone are followed where their share is all there is."""
    folder, flags, bundles = taught
    recipe = student(folder, teacher=tiny.bundle, weight=1.0)
    examples, bundle = str(folder / "only"), str(folder / "student")
    preprocess.run([*flags[:2], "--recipe", recipe, "--output", examples])
    train.run(["--examples", examples, "--output", bundle, "--epochs", "12"])
    theirs = scores_of(folder, tiny.bundle, "teacher-scores")
    ours = scores_of(folder, bundle, "student-scores")
    untaught = scores_of(folder, bundles[1], "other-scores")
    assert np.corrcoef(theirs, ours)[0, 1] > 0.8
    assert np.abs(theirs - ours).mean() < np.abs(theirs - untaught).mean() + 0.1
    assert yaml.safe_load((folder / "student" / "recipe.yaml").read_text())["distill"] == {
        "teacher": [tiny.bundle],
        "weight": 1.0,
    }


def test_a_student_learns_its_teacher_s_vectors(taught, tiny):
    """The cosines of the student's vectors follow the teacher's, though it never saw a score."""
    folder, flags, _ = taught
    recipe = student(folder, teacher=tiny.bundle, weight=0.01, vectors=10.0)
    examples, bundle = str(folder / "near"), str(folder / "near-bundle")
    preprocess.run([*flags[:2], "--recipe", recipe, "--output", examples])
    train.run(["--examples", examples, "--output", bundle, "--epochs", "12"])
    sentences = sorted({*pairs(300)["sentence1"].to_pylist()})
    texts = np.array([text.encode() for text in sentences], object)
    theirs, ours = (load(each).encode(texts) for each in (tiny.bundle, bundle))
    ours = ours[:, : theirs.shape[1]]
    cosines = np.sum(theirs * ours, axis=1)
    cosines /= np.linalg.norm(theirs, axis=1) * np.linalg.norm(ours, axis=1)
    assert cosines.mean() > 0.95
