from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn import metrics as sk

from pipelines import evaluate
from pipelines.options.scored_inputs import score_inputs
from tests.scored_pairs import scored_table, write_scores
from transforms.errors import UserError
from transforms.input import input_files


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evaluate")


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return scored_table(3_000)


@pytest.fixture(scope="module")
def measured(folder: Path, table: pa.Table) -> dict:
    # two rows that cannot be judged, and training pairs of half of the sentences
    nothing = pa.table({**table.slice(0, 2).to_pydict(), "label": [None, 7]}, table.schema)
    write_scores(folder / "scores", pa.concat_tables([table, nothing]))
    pq.write_table(table.filter(pa.array(np.arange(3_000) % 2 == 0)), folder / "train.parquet")
    return evaluate.run(
        ["--input", str(folder / "scores"), "--output", str(folder / "report"), "--slice_column",
         "channel", "--train_input", str(folder / "train.parquet"), "--resamples", "30"]
    )  # fmt: skip


def test_measures_of_a_scoring_folder(measured: dict, table: pa.Table):
    label, similarity, given = (
        table[name].to_numpy() for name in ("label", "similarity", "similarity_label")
    )

    assert measured["rows"] == 3_000  # and nothing of _rejects/
    assert measured["skipped_by_reason"] == {"label_invalid": 1, "label_null": 1}
    assert measured["metrics"]["accuracy"] == pytest.approx(sk.accuracy_score(label, given))
    assert measured["metrics"]["roc_auc"] == pytest.approx(
        sk.roc_auc_score(label, similarity), abs=1e-3
    )
    assert measured["confusion"] == sk.confusion_matrix(label, given).tolist()
    for name, (low, high) in measured["intervals"].items():
        assert low <= measured["metrics"][name] <= high


def test_slices_are_the_measures_of_their_rows(measured: dict, table: pa.Table):
    frame = table.to_pandas()
    longer = np.maximum(frame.sentence1.str.len(), frame.sentence2.str.len())
    by_name = {(entry["slice"], entry["value"]): entry for entry in measured["slices"]}

    for value, part in frame.groupby("channel"):
        entry = by_name["channel", value]
        assert entry["rows"] == len(part)
        expected = sk.f1_score(part.label, part.similarity_label)
        assert entry["metrics"]["f1"] == pytest.approx(expected)
    assert by_name["sentence length", "33-64"]["rows"] == longer.between(33, 64).sum()
    train = frame[::2]
    known = set(train.sentence1) | set(train.sentence2)
    both = frame.sentence1.isin(known) & frame.sentence2.isin(known)
    assert by_name["sentences seen in training", "both"]["rows"] == both.sum()


def test_baselines(measured: dict, table: pa.Table):
    ones = table["label"].to_numpy().mean()

    assert measured["baselines"]["majority"]["label"] == "0"
    assert measured["baselines"]["majority"]["metrics"]["accuracy"] == pytest.approx(1 - ones)
    # labels do not depend on the sentences here, so looking them up can tell next to nothing
    assert measured["baselines"]["sentence_prior"]["metrics"]["roc_auc"] < 0.7


def test_the_worst_are_the_surest_mistakes(measured: dict, table: pa.Table):
    frame = table.to_pandas()
    wrong = frame[(frame.label == 0) & (frame.similarity_label == 1)]
    worst = measured["worst"]["false positives"]

    assert len(worst) == 20
    assert worst[0]["similarity"] == pytest.approx(wrong.similarity.max(), abs=1e-5)
    assert all(one["label"] == "0" and one["given"] == "1" for one in worst)


def test_what_is_written(measured: dict, folder: Path):
    names = {path.name for path in (folder / "report").iterdir()}
    page = (folder / "report/report.html").read_text()

    assert names == {
        "metrics.json", "report.html", "_SUCCESS", "roc.png", "precision_recall.png",
        "calibration.png", "distribution.png",
    }  # fmt: skip
    assert json.loads((folder / "report/metrics.json").read_text()) == measured
    assert measured["worst"]["false positives"][0]["sentence2"] in page
    assert "Baselines" in page and "@" not in page.split("<main>")[1].split("</main>")[0]


def test_nothing_is_written_over(measured: dict, folder: Path, tmp_path: Path):
    argv = ["--input", str(folder / "scores"), "--output"]
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters/dear.txt").touch()

    with pytest.raises(UserError, match=r"--resamples 30, now 200.*--overwrite"):
        evaluate.run([*argv, str(folder / "report"), "--resamples", "200"])
    with pytest.raises(UserError, match=r"dear\.txt"):
        evaluate.run([*argv, str(tmp_path / "letters"), "--overwrite"])


def test_the_same_command_again_does_nothing(measured: dict, folder: Path, capsys):
    page = (folder / "report/report.html").stat().st_mtime_ns
    argv = ["--input", str(folder / "scores"), "--output", str(folder / "report")]
    argv += ["--slice_column", "channel", "--train_input", str(folder / "train.parquet")]
    assert evaluate.run([*argv, "--resamples", "30"]) == measured
    assert "is complete already: same inputs and options" in capsys.readouterr().out
    assert (folder / "report/report.html").stat().st_mtime_ns == page


def test_nights_whose_files_have_the_same_names_are_measured_together(tmp_path: Path):
    parts = [scored_table(300).slice(0, 200), scored_table(300).slice(200)]
    for number, part in enumerate(parts):
        write_scores(tmp_path / f"{number}", part)
    found = evaluate.run(
        ["--input", str(tmp_path / "0"), str(tmp_path / "1"), "--output", str(tmp_path / "out"),
         "--resamples", "0"]
    )  # fmt: skip
    table = pa.concat_tables(parts)

    assert found["rows"] == 300
    right = sk.accuracy_score(table["label"].to_numpy(), table["similarity_label"].to_numpy())
    assert found["metrics"]["accuracy"] == pytest.approx(right)


def test_redact_shows_no_sentence_and_threshold_judges_anew(folder: Path, tmp_path: Path, measured):
    found = evaluate.run(
        ["--input", str(folder / "scores/*.parquet"), "--output", str(tmp_path / "out"), "--redact",
         "--threshold", "0.9", "--resamples", "0"]
    )  # fmt: skip
    page = (tmp_path / "out/report.html").read_text()

    assert found["worst"] == {} and "where is order" not in page
    assert found["metrics"]["recall"] < measured["metrics"]["recall"]


def test_numbers_as_labels(tmp_path: Path):
    random = np.random.default_rng(3)
    label = random.integers(0, 26, 800) / 5
    similarity = (label + random.normal(0, 1, 800)).astype(np.float32)
    words = [f"a {n}" for n in range(800)]
    table = pa.table(
        {"sentence1": words, "sentence2": words, "label": label, "similarity": similarity}
    )
    pq.write_table(table, tmp_path / "scores.parquet")
    found = evaluate.run(
        ["--input", str(tmp_path / "scores.parquet"), "--output", str(tmp_path / "out"),
         "--task", "regression", "--label_range", "0", "5", "--resamples", "20",
         "--train_input", str(tmp_path / "scores.parquet")]
    )  # fmt: skip

    expected = np.corrcoef(label, similarity)[0, 1]
    assert found["metrics"]["pearson"] == pytest.approx(expected, abs=1e-6)
    # each sentence stands in one pair only, so its own label is known: the baseline wins
    assert found["baselines"]["sentence_prior"]["metrics"]["pearson"] > 0.99
    assert any("not clearly above" in line for line in found["warnings"])
    assert (tmp_path / "out/scatter.png").exists()


def test_more_classes(tmp_path: Path):
    random = np.random.default_rng(4)
    names = np.array(["no", "maybe", "yes"])
    actual = random.integers(0, 3, 900)
    chances = random.dirichlet([1, 1, 1], 900) + 0.8 * np.eye(3)[actual]
    chances /= chances.sum(axis=1, keepdims=True)
    table = {
        "sentence1": [f"a {n}" for n in range(900)],
        "sentence2": ["b"] * 900,
        "label": names[actual],
        "similarity": chances[:, 2].astype(np.float32),
        "similarity_label": names[chances.argmax(axis=1)],
    } | {f"probability_{n}": chances[:, k].astype(np.float32) for k, n in enumerate(names)}
    pq.write_table(pa.table(table), tmp_path / "scores.parquet")
    found = evaluate.run(
        ["--input", str(tmp_path / "scores.parquet"), "--output", str(tmp_path / "out"),
         "--task", "classes", "--classes", *names, "--resamples", "20"]
    )  # fmt: skip

    expected = sk.confusion_matrix(actual, chances.argmax(axis=1)).tolist()
    assert found["confusion"] == expected
    assert set(found["classes_measured"]) == set(names)
    assert "maybe" in (tmp_path / "out/report.html").read_text()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--slice_column", "sentence1"], "more than 100 values"),
        (["--similarity_column", "score"], "no column 'score'"),
        (["--task", "regression"], "--label_range"),
        (["--classes", "x", "y"], "is one of x, y: '0', '1'; map them"),
    ],
)
def test_mistakes_are_reported(
    folder: Path, measured, tmp_path: Path, capfd, flags, message, monkeypatch
):
    table = scored_table(400)
    many = table.set_column(0, "sentence1", [[f"question {n}" for n in range(400)]])
    pq.write_table(many, tmp_path / "scores.parquet")
    argv = [
        "evaluate",
        "--input",
        str(tmp_path / "scores.parquet"),
        "--output",
        str(tmp_path / "o"),
    ]
    monkeypatch.setattr("sys.argv", [*argv, *flags])

    assert evaluate.main() == 2
    assert message in capfd.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "o").exists()


def test_rows_are_named_by_their_id_and_files_it_was_trained_on_are_reported(
    table: pa.Table, tmp_path: Path, capsys
):
    ids = pa.array([f"row-{n}" for n in range(table.num_rows)])
    scores = write_scores(tmp_path / "scores", table.append_column("id", ids))
    manifest = json.loads((scores / "_manifest.json").read_text())
    manifest["files"][0]["source"] = "train.parquet"  # the first of two files, so half of the rows
    manifest["inputs_trained_on"] = ["train.parquet"]
    (scores / "_manifest.json").write_text(json.dumps(manifest))
    argv = ["--input", str(scores), "--output", str(tmp_path / "report"), "--resamples", "0"]
    found = evaluate.run(argv)

    rows = dict(zip(ids.to_pylist(), table.to_pylist(), strict=True))
    for mistake in found["worst"]["false negatives"]:
        assert rows[mistake["id"]]["sentence2"] == mistake["sentence2"]
    assert "1,500 of them are from files that the bundle was trained on" in capsys.readouterr().out
    page = (tmp_path / "report/report.html").read_text()
    assert "1,500 of 3,000 pairs</strong> are from files" in page.partition('class="alarm"')[2]
    with pytest.raises(UserError, match="no column 'key'"):
        evaluate.run([*argv, "--id_column", "key", "--overwrite"])


def test_files_of_a_scoring_run_are_known_by_its_manifest(
    folder: Path, measured: dict, monkeypatch
):
    """To look for each of very many files in a bucket would take hours."""
    monkeypatch.setattr(input_files, "_match", None)
    found = input_files.find(score_inputs([str(folder / "scores")]))
    assert [file.path for file in found] == [f"{folder}/scores/pairs-{n}.parquet" for n in (0, 1)]
    (folder / "scores/pairs-1.parquet").rename(folder / "gone")
    try:
        with pytest.raises(UserError, match=r"pairs-1\.parquet does not exist"):
            evaluate.run(["--input", str(folder / "scores"), "--output", str(folder / "other")])
    finally:
        (folder / "gone").rename(folder / "scores/pairs-1.parquet")


def test_labels_that_fit_no_class_are_shown_before_any_work(tmp_path, capsys):
    rows = pa.table({
        "id": range(3), "sentence1": ["a", "b", "c"], "sentence2": ["x", "y", "z"],
        "similarity": [0.1, 0.6, 0.9], "similarity_label": [0, 1, 1], "label": ["no", "yes", "no"],
    })  # fmt: skip
    pq.write_table(rows, tmp_path / "scores.parquet")
    flags = ["--input", str(tmp_path / "scores.parquet"), "--output", str(tmp_path / "report")]

    with pytest.raises(UserError, match=r"'no', 'yes'; map them with .* no=0 yes=1"):
        evaluate.run([*flags, "--task=binary", "--classes", "0", "1"])

    assert not (tmp_path / "report").exists() and "to judge" not in capsys.readouterr().out
