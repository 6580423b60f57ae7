import time
from collections import Counter
from pathlib import Path

import pytest

from transforms.accounts.shard_account import WrittenFile
from transforms.errors import RunError, UserError
from transforms.examples.folder import CommitExamples, check_free, count_done, mark_done

COUNTS = Counter(
    {("rows_in",): 10, ("rejected", "label_null"): 2, ("rows", "train"): 7, ("rows", "eval"): 1}
)
WRITTEN = [
    WrittenFile("train-0.tfrecord.gz", 7, "t", ""),
    WrittenFile("eval-0.tfrecord.gz", 1, "e", ""),
]


def make_commit(folder: Path, **changes) -> CommitExamples:
    staging = folder / "examples.partial"
    (staging / "_tmp/learned").mkdir(parents=True)
    (staging / "transform_fn/assets").mkdir(parents=True)
    (staging / "transform_fn/assets/vocabulary").write_text("a\nb\n")
    values = {
        "staging": str(staging), "graph": str(staging), "output": str(folder / "examples"),
        "planned": 10, "recipe": "name: tiny\n", "header": {"recipe": "tiny"},
        "max_reject_fraction": 0.2, "started": time.time() - 2,
    }  # fmt: skip
    return CommitExamples(**values | changes)


def test_a_finished_folder_appears_whole(tmp_path):
    make_commit(tmp_path)(None, [None], WRITTEN, COUNTS)
    assert [path.name for path in tmp_path.iterdir()] == ["examples"]
    names = {path.name for path in (tmp_path / "examples").iterdir()}
    assert names == {"transform_fn", "recipe.yaml", "manifest.json", "_SUCCESS"}


def test_a_graph_kept_elsewhere_comes_along_without_its_temporary_files(tmp_path):
    commit = make_commit(tmp_path / "local")
    (tmp_path / "far").mkdir()
    far = {"staging": str(tmp_path / "far/e.partial"), "output": str(tmp_path / "far/e")}
    CommitExamples(**vars(commit) | far)(None, [None], WRITTEN, COUNTS)
    assert (tmp_path / "far/e/transform_fn/assets/vocabulary").read_text() == "a\nb\n"
    assert not (tmp_path / "far/e/_tmp").exists()


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
