import shutil
import time
from collections import Counter
from pathlib import Path

import pytest

from transforms.accounts.shard_account import WrittenFile
from transforms.accounts.staging import stage
from transforms.errors import RunError, UserError
from transforms.examples.folder import CommitExamples, check_free
from transforms.examples.shard_marks import count_done, mark_done

COUNTS = Counter(
    {("rows_in",): 10, ("rejected", "label_null"): 2, ("rows", "train"): 7, ("rows", "eval"): 1}
)
WRITTEN = [
    WrittenFile("train-0.tfrecord.gz", 7, "t", ""),
    WrittenFile("eval-0.tfrecord.gz", 1, "e", ""),
]
NAMES = {
    "transform_fn", "recipe.yaml", "manifest.json", "_SUCCESS", "train-0.tfrecord.gz",
    "eval-0.tfrecord.gz",
}  # fmt: skip


def write_graph(folder: Path) -> None:
    (folder / "transform_fn/assets").mkdir(parents=True)
    (folder / "transform_fn/assets/vocabulary").write_text("a\nb\n")


def make_commit(folder: Path, **changes) -> CommitExamples:
    staging = stage(str(folder / "examples"), overwrite=True)
    made = Path(staging.folder)
    (made / "_tmp/learned").mkdir(parents=True)
    write_graph(made)
    for file in WRITTEN:
        (made / file.name).write_bytes(b"records")
    values = {
        "staging": staging, "graph": staging.folder, "planned": 10,
        "recipe": "name: tiny\n", "header": {"recipe": "tiny"},
        "max_reject_fraction": 0.2, "started": time.time() - 2,
    }  # fmt: skip
    return CommitExamples(**values | changes)


def test_a_finished_folder_appears_whole(tmp_path):
    make_commit(tmp_path)(None, [None], WRITTEN, COUNTS)
    assert [path.name for path in tmp_path.iterdir()] == ["examples"]
    names = {path.name for path in (tmp_path / "examples").iterdir()}
    assert names == NAMES


def test_a_graph_kept_elsewhere_comes_along_without_its_temporary_files(tmp_path):
    commit = make_commit(tmp_path, graph=str(tmp_path / "local"))
    shutil.rmtree(Path(commit.staging.folder, "transform_fn"))
    write_graph(tmp_path / "local")
    (tmp_path / "local/_tmp").mkdir()
    commit(None, [None], WRITTEN, COUNTS)
    output = tmp_path / "examples"
    assert (output / "transform_fn/assets/vocabulary").read_text() == "a\nb\n"
    assert not (output / "_tmp").exists()


def test_a_run_that_was_superseded_changes_nothing(tmp_path):
    late = make_commit(tmp_path, header={"recipe": "late"})
    make_commit(tmp_path)(None, [None], WRITTEN, COUNTS)
    before = {path: path.read_bytes() for path in (tmp_path / "examples").rglob("*.*")}

    # It was at work all the time, and writes on where it had written.
    write_graph(Path(late.staging.folder))
    for file in WRITTEN:
        Path(late.staging.folder, file.name).write_bytes(b"other records")
    with pytest.raises(RunError, match="taken over by another run"):
        late(None, [None], WRITTEN, COUNTS)

    after = {path: path.read_bytes() for path in (tmp_path / "examples").rglob("*.*")}
    assert after == before and len(before) > 3


def test_a_second_attempt_at_the_commit_changes_nothing(tmp_path):
    commit = make_commit(tmp_path)
    commit(None, [None], WRITTEN, COUNTS)
    before = (tmp_path / "examples/manifest.json").read_bytes()
    commit(None, [None], WRITTEN, COUNTS)
    assert (tmp_path / "examples/manifest.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["examples"]


@pytest.mark.parametrize(
    ("changes", "counts", "error", "message"),
    [
        ({"planned": 11}, COUNTS, RunError, "must add up"),
        (
            {"max_reject_fraction": 0.19},
            COUNTS,
            RunError,
            "2 of 10 rows were rejected .2 label_null",
        ),
        (
            {"planned": 2},
            Counter({("rows_in",): 2, ("rejected", "label_null"): 2}),
            UserError,
            "no pair is left to train on",
        ),
    ],
)
def test_what_must_not_be_used_does_not_appear(tmp_path, changes, counts, error, message):
    written = WRITTEN if counts is COUNTS else []
    with pytest.raises(error, match=message):
        make_commit(tmp_path, **changes)(None, [None], written, counts)
    assert not (tmp_path / "examples").exists()


def test_only_what_preprocessing_wrote_may_be_replaced(tmp_path):
    check_free(str(tmp_path / "new"), overwrite=False)
    make_commit(tmp_path)(None, [None], WRITTEN, COUNTS)
    output = tmp_path / "examples"
    with pytest.raises(UserError, match="--overwrite"):
        check_free(str(output), overwrite=False)
    check_free(str(output), overwrite=True)
    (output / "thesis.docx").write_text("years of work")
    with pytest.raises(UserError, match=r"thesis\.docx"):
        check_free(str(output), overwrite=True)


def test_steps_are_counted_by_shard(tmp_path):
    folder = str(tmp_path / "examples.partial")
    assert count_done(folder, "learned") == 0
    for shard in ("a.parquet", "b.parquet", "a.parquet"):
        mark_done(folder, "learned", shard)
    assert (count_done(folder, "learned"), count_done(folder, "transformed")) == (2, 0)
