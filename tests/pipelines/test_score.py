"""The scoring command with a model of plain Python: what it does again, and what it refuses."""

from __future__ import annotations

import hashlib
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from pipelines import cluster, preprocess, score
from pipelines.scoring import plan_scores
from tests.scoring_kit import EqualBundle, exit_code, pairs, read_parts, run_score, write
from transforms.errors import RunError, UserError


@pytest.fixture(autouse=True)
def equal_bundle(monkeypatch):
    monkeypatch.setattr(plan_scores, "BundleScorer", EqualBundle)


@pytest.fixture
def scored(tmp_path):
    """A finished run over two files."""
    for name, rows in (("a", 250), ("b", 30)):
        write(tmp_path / "in" / f"{name}.parquet", pairs(rows), row_group_size=50)
    return tmp_path, again(tmp_path)


def again(folder: Path, *flags: str, model: str = "bundle") -> dict:
    return run_score(folder / "in" / "*", folder / "out", "--shard_rows=100", *flags, model=model)


def when_written(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*.parquet")}


def test_rows_come_out_in_their_order_with_two_columns_more(scored):
    folder, manifest = scored
    found = duckdb.sql(
        f"select id, similarity, similarity_label from '{folder}/out/a-*.parquet' "
        "order by filename, file_row_number"
    ).fetchall()
    assert found == [(n, float(n % 3 == 0), int(n % 3 == 0)) for n in range(250)]
    assert read_parts(folder / "out", "b").num_rows == 30
    assert [file["name"] for file in manifest["files"]] == [
        "a-00000-of-00003.parquet", "a-00001-of-00003.parquet", "a-00002-of-00003.parquet",
        "b-00000-of-00001.parquet",
    ]  # fmt: skip


def test_the_manifest_tells_what_was_done(scored):
    folder, manifest = scored
    assert (manifest["rows_in"], manifest["rows_scored"], manifest["rows_rejected"]) == (
        280,
        280,
        0,
    )
    assert manifest["bundle"]["fingerprint"] == "bundle"
    assert manifest["files_rejected"] == [] and manifest["shards"] == 4
    for file in manifest["files"]:
        content = (folder / "out" / file["name"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == file["sha256"]
    assert not (folder / "out" / "_LOCK").exists() and not (folder / "out" / "_tmp").exists()


def test_a_second_run_does_nothing(scored, capsys):
    folder, manifest = scored
    before = when_written(folder / "out")
    assert again(folder) == manifest
    assert "is complete already" in capsys.readouterr().out
    assert when_written(folder / "out") == before


def test_new_files_are_scored_without_touching_the_old(scored):
    folder, _ = scored
    before = when_written(folder / "out")
    write(folder / "in" / "c.parquet", pairs(5))
    manifest = again(folder)
    assert (manifest["rows_in"], manifest["rows_this_run"]) == (285, 5)
    assert before.items() <= when_written(folder / "out").items()


@pytest.mark.parametrize(
    ("flags", "model"),
    [
        (["--max_sentence_chars=5"], "bundle"),
        (["--compression=snappy"], "bundle"),
        (["--on_long_sentence=truncate"], "bundle"),
        (["--similarity_column=s"], "bundle"),
        ([], "another"),
    ],
)
def test_other_options_or_another_bundle_need_overwrite(scored, flags, model):
    folder, _ = scored
    with pytest.raises(UserError, match="another bundle, other options or.*--overwrite"):
        again(folder, *flags, model=model)
    manifest = again(folder, *flags, "--overwrite", "--max_reject_fraction=1", model=model)
    assert manifest["rows_this_run"] == 280 and manifest["bundle"]["fingerprint"] == model


@pytest.mark.parametrize("package", ["twinbeam", *plan_scores.PACKAGES])
def test_what_another_version_has_begun_is_not_resumed(scored, package, upgraded):
    """Killed before its last shard, upgraded, and given again: both versions' rows never mix."""
    folder, manifest = scored
    for name in ("_SUCCESS", "a-00001-of-00003.parquet"):
        (folder / "out" / name).unlink()
    left = when_written(folder / "out")
    upgraded(package)
    with pytest.raises(UserError, match="other versions.*--overwrite"):
        again(folder)
    assert when_written(folder / "out") == left
    anew = again(folder, "--overwrite")
    assert anew["shards_this_run"] == 4  # none of the other version's is kept
    assert anew["versions"] == manifest["versions"] | {package: "99.9"}


def test_a_changed_input_needs_overwrite(scored):
    folder, _ = scored
    write(folder / "in" / "a.parquet", pairs(7))
    with pytest.raises(UserError, match=r"a\.parquet has changed since"):
        again(folder)
    assert again(folder, "--overwrite")["rows_in"] == 37
    assert read_parts(folder / "out", "a").num_rows == 7


def test_a_lost_output_is_made_again_with_the_same_bytes(scored):
    folder, manifest = scored
    (folder / "out" / "a-00001-of-00003.parquet").unlink()
    repaired = again(folder)
    assert repaired["shards_this_run"] == 1
    assert repaired["files"] == manifest["files"]


@pytest.mark.parametrize(
    "flag",
    [
        "--threshold=nan", "--threshold=7", "--max_drift=-1", "--max_drift=nan",
        "--embedding_cache_mb=-1", "--max_reject_fraction=nan",
    ],
)  # fmt: skip
def test_numbers_that_cannot_be_meant_are_refused_at_once(tmp_path, flag, capsys):
    write(tmp_path / "in.parquet", pairs(3))
    try:
        code = exit_code(tmp_path / "in.parquet", tmp_path / "out", flag)
    except SystemExit as stopped:  # the parser's own way to say so
        code = stopped.code
    assert code == 2 and flag.partition("=")[0] in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_complete_folder_is_judged_again_by_stricter_limits(tmp_path):
    table = pairs(30)
    texts = [None if row == 4 else text.as_py() for row, text in enumerate(table["sentence1"])]
    write(tmp_path / "in.parquet", table.set_column(1, "sentence1", pa.array(texts)))
    run_score(tmp_path / "in.parquet", tmp_path / "out")
    with pytest.raises(RunError, match="1 of 30 rows were rejected"):
        run_score(tmp_path / "in.parquet", tmp_path / "out", "--max_reject_fraction=0")
    assert (tmp_path / "out" / "_SUCCESS").exists()


def test_names_that_clash_are_refused_whatever_their_case(tmp_path, capsys):
    table = pairs(3).append_column("SIMILARITY", pa.array([1, 2, 3]))
    write(tmp_path / "in.parquet", table)
    write(tmp_path / "plain.parquet", pairs(3))
    for name, flags, message in (
        ("in", (), "has a column 'SIMILARITY' already; choose another name with --similarity_col"),
        ("in", ("--similarity_column=s", "--similarity_label_column=Id"), "a column 'id' already"),
        (
            "plain",
            ("--similarity_column=s", "--similarity_label_column=S"),
            "no other added column",
        ),
        ("plain", ("--similarity_column=",), "no other added column"),
    ):
        with pytest.raises(UserError, match=message):
            run_score(tmp_path / f"{name}.parquet", tmp_path / "out", *flags)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "command",
    [
        "score --model bundle --input {}/in --output {}/out",
        "preprocess --recipe char-bilstm-manhattan --input {}/in --output {}/out",
        "cluster --min_similarity 0.5 --input {}/in --output {}/out",
    ],
)
def test_rejected_rows_given_again_are_refused_before_the_work(tmp_path, command):
    more = {"label": [1, 0, 1], "similarity": [0.5, 0.6, 0.7], "Reject_Reason": ["", "", ""]}
    table = pairs(3, **{name: pa.array(values) for name, values in more.items()})
    write(tmp_path / "in" / "a.parquet", table)
    name, *flags = command.format(tmp_path, tmp_path).split()
    commands = {"score": score, "preprocess": preprocess, "cluster": cluster}
    with pytest.raises(UserError, match="'Reject_Reason' already, which rejected rows get"):
        commands[name].run(flags)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("pattern", ["{}/in", "{}/in/**", "{}/in/"])
def test_an_output_within_the_folder_that_is_read_is_no_input(tmp_path, pattern, capsys):
    write(tmp_path / "in" / "a.parquet", pairs(9), row_group_size=3)
    write(tmp_path / "in" / "out" / "mine.parquet", pairs(2))
    output, source = tmp_path / "in" / "scores" / "new", pattern.format(tmp_path)
    first = run_score(source, output, "--shard_rows=3")
    assert first["rows_in"] == 11
    (output / "_SUCCESS").unlink()  # as a run leaves it that died at its end
    (output / "_manifest.json").unlink()
    assert run_score(source, output, "--shard_rows=3")["shards_this_run"] == 0
    run_score(source, output, "--shard_rows=3")
    assert "is complete already" in capsys.readouterr().out
    named = output / "a-00000-of-00003.parquet"
    with pytest.raises(UserError, match="holds the input .*choose another folder"):
        run_score(next(output.rglob("*a-00000-of-00003.parquet"), named), output)


def test_a_limit_of_drift_needs_a_bundle_that_drift_is_measured_against(tmp_path):
    write(tmp_path / "in.parquet", pairs(3))
    with pytest.raises(UserError, match="--max_drift: bundle keeps no profile"):
        run_score(tmp_path / "in.parquet", tmp_path / "out", "--max_drift=0.5")


def test_names_of_columns_can_be_chosen(tmp_path):
    table = pairs(3).rename_columns(["id", "左", "right side"])
    write(tmp_path / "in.parquet", table)
    flags = ["--sentence1_column=左", "--sentence2_column=right side", "--similarity_column=s"]
    run_score(tmp_path / "in.parquet", tmp_path / "out", *flags)
    assert read_parts(tmp_path / "out", "in").schema.names[:3] == table.schema.names
