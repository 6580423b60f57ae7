"""Which runs of `score` the teachers in a recipe make; the runs themselves are in e2e."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from pipelines.examples.teachers import ask_teachers
from pipelines.options.preprocess_options import parse
from tests.model import tiny_recipes
from transforms.errors import UserError


def bundle(folder: Path, name: str, **changes) -> str:
    """What is looked at of a bundle before it scores: recipe and fingerprint."""
    path = folder / name
    path.mkdir()
    (path / "recipe.yaml").write_text(yaml.safe_dump(tiny_recipes.values(**changes)))
    (path / "manifest.json").write_text(f'{{"fingerprint": "{name}"}}')
    return str(path)


def options_of(folder: Path, *flags: str, rows: int = 3, **changes):
    """The options of preprocessing pairs by a recipe."""
    values = tiny_recipes.values(**changes)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(values))
    table = {"sentence1": ["a"] * rows, "sentence2": ["b"] * rows, "label": [1] * rows}
    pq.write_table(pa.table(table), folder / "pairs.parquet")
    return parse(
        ["--input", str(folder / "pairs.parquet"), "--recipe", str(folder / "recipe.yaml"),
         "--output", str(folder / "examples"), *flags]
    )  # fmt: skip


@pytest.fixture
def score():
    """Scores nothing, and keeps which runs of `score` were made."""
    made = []

    def score(options):
        made.append(options)
        fingerprint = {"fingerprint": Path(options.model).name}
        return {"bundle": fingerprint, "rows_in": 3, "rows_rejected": 1}

    score.made = made
    return score


def test_each_teacher_scores_what_the_one_before_has_scored(tmp_path, score):
    bundles = [bundle(tmp_path, name) for name in ("one", "two")]
    options = options_of(tmp_path, distill={"teacher": bundles})
    taught = ask_teachers(options, score)

    first, second = score.made
    assert first.inputs == options.inputs and second.inputs == (f"{first.output}/*.parquet",)
    assert taught.inputs == (f"{second.output}/*.parquet",)
    assert taught.columns.teachers == ("teacher_1_similarity", "teacher_2_similarity")
    assert [run.scoring.similarity_column for run in score.made] == list(taught.columns.teachers)
    assert {run.encode_once for run in score.made} == {"global"}
    assert {Path(run.output).parent for run in score.made} == {tmp_path / "examples.teachers"}
    assert taught.to_json()["teachers"] == ["one", "two"]
    assert [each["rows_rejected"] for each in taught.taught] == [1, 1]


def test_a_folder_s_name_follows_from_all_that_decides_the_scores(tmp_path, score):
    options = options_of(tmp_path, distill={"teacher": bundle(tmp_path, "one")})
    changed = [
        options,
        options,
        replace(options, max_chars=9),
        replace(options, inputs=(*options.inputs, options.inputs[0])),
    ]
    for each in changed:
        ask_teachers(each, score)
    same, again, *others = (run.output for run in score.made)
    assert same == again and len({same, *others}) == 3


def test_without_teachers_nobody_is_asked(tmp_path, score):
    for options in (
        options_of(tmp_path),
        options_of(tmp_path, "--teacher_column", "label", distill={"weight": 0.3}),
    ):
        assert ask_teachers(options, score) is options
    assert not score.made


def test_teachers_that_cannot_teach_are_refused_before_they_work(tmp_path, score):
    one = bundle(tmp_path, "one")
    with pytest.raises(UserError, match=r"distill.teacher: .*nowhere is not a bundle"):
        ask_teachers(options_of(tmp_path, distill={"teacher": [one, "nowhere"]}), score)
    numbers = {
        "task": "regression",
        "labels": {"minimum": 0, "maximum": 5},
        "loss": {"kind": "mse"},
    }
    with pytest.raises(UserError, match="scores from 0 to 1, and the recipe's labels .* 0 to 5"):
        ask_teachers(options_of(tmp_path, distill={"teacher": one}, **numbers), score)
    with pytest.raises(UserError, match="no column 'labels'"):
        flags = ("--label_column", "labels")
        ask_teachers(options_of(tmp_path, *flags, distill={"teacher": one}), score)
    assert not score.made


def test_scores_come_from_a_teacher_or_from_a_column(tmp_path):
    with pytest.raises(UserError, match="either 'teacher: BUNDLE' or scores.*received both"):
        options_of(tmp_path, "--teacher_column", "label", distill={"teacher": "one"})
    with pytest.raises(UserError, match="received neither"):
        options_of(tmp_path, distill={})
    with pytest.raises(UserError, match="--teacher_column: the recipe learns from no teacher"):
        options_of(tmp_path, "--teacher_column", "label")


def test_vectors_are_kept_beside_the_scores_where_they_are_learned(tmp_path, score):
    one = bundle(tmp_path, "one")
    plain = ask_teachers(options_of(tmp_path, distill={"teacher": one}), score)
    taught = ask_teachers(options_of(tmp_path, distill={"teacher": one, "vectors": 2}), score)
    first, second = score.made
    assert first.embedding_store is None and not plain.columns.keyed
    assert second.output != first.output  # scored again, since vectors were not kept
    assert second.embedding_store == taught.taught[0]["vectors"]
    assert Path(second.embedding_store).parent == tmp_path / "examples.teachers"
    assert taught.columns.keyed and taught.to_json()["keyed"]
    with pytest.raises(UserError, match="distill.vectors: of one teacher, .*received 2"):
        options_of(tmp_path, distill={"teacher": [one, one], "vectors": 2})
