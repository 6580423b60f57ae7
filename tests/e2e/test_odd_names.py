"""A folder may be called anything: its name is no pattern, for no command."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipelines import calibrate, cluster, evaluate, find, inspect, label, preprocess, score, train
from tests.e2e.conftest import RECIPE, pairs


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*")}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a[1]", "a*?", "a b{c,d}é 好"])
def test_every_command_writes_to_a_folder_of_any_name_and_replaces_it(tmp_path: Path, name: str):
    beside = tmp_path / "a1"  # what the first two names match as patterns
    for other in ("examples", "bundle", "scores", "report", "label", "found", "clusters"):
        (beside / other).mkdir(parents=True)
        (beside / other / "mine.txt").write_text("years of work")
    before = tree(beside)
    folder = tmp_path / name
    folder.mkdir()
    pq.write_table(pairs(300), folder / "in[1].parquet", row_group_size=100)
    (folder / "tiny.yaml").write_text(RECIPE)
    source, (examples, bundle, scores, report, chosen, found, clusters, calibrated) = (
        str(folder / "in[1].parquet"),
        (str(folder / n) for n in ("examples", "bundle", "scores", "report", "label", "found",
                                   "clusters", "calibrated")),
    )  # fmt: skip
    for more in ([], ["--overwrite"]):
        made = preprocess.run(
            ["--input", source, "--recipe", str(folder / "tiny.yaml"), "--output", examples, *more]
        )
        assert made["rows_in"] == 300
        train.run(["--examples", examples, "--output", bundle, "--epochs", "1", *more])
        scored = score.run(["--input", source, "--model", bundle, "--output", scores,
                            "--shard_rows", "100", *more])  # fmt: skip
        assert (scored["rows_scored"], scored["shards_this_run"]) == (300, 3)
        judged = evaluate.run(["--input", scores, "--output", report, "--resamples", "5", *more])
        assert judged["rows"] == 300
        assert label.run(["--input", scores, "--output", chosen, "--pairs", "9", *more])["pairs"]
        calibrate.run(["--model", bundle, "--input", scores, "--output", calibrated, *more])
        near = find.run(["--input", source, "--sentence_column", "sentence1", "--id_column", "id",
                         "--model", bundle, "--output", found, *more])  # fmt: skip
        grouped = cluster.run(["--input", found, "--output", clusters, *more])
        assert near["rows_used"] == 300 and grouped["rows_clustered"] <= 300
    for each in (examples, bundle, scores, calibrated):
        assert inspect.inspect(each)["sums"] == "valid"
    assert tree(beside) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["a1", name])
