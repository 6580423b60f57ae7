"""All four commands with every path in a bucket; and the same scoring from what Dataflow gets."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from model.dataset.examples import open_examples
from pipelines import calibrate, cluster, evaluate, find, inspect, preprocess, score, train
from pipelines.options import command_line, score_options
from pipelines.scoring.score_pairs import score_pairs
from tests.cloud.fakes import BUCKET, PROJECT, REGION, FakeCloud
from tests.cloud.tls import tls_proxy
from tests.e2e.conftest import RECIPE, pairs

ROOT = Path(__file__).resolve().parent.parent.parent

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
BASE = f"gs://{BUCKET}/whole"
ROWS = 300


@dataclass(frozen=True)
class Runs:
    """A whole run in the bucket, and where the same is done on this machine."""

    cloud: FakeCloud
    local: Path
    scores: dict


@pytest.fixture(scope="module")
def runs(running_cloud: FakeCloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    cloud, local = running_cloud, tmp_path_factory.mktemp("local")
    pq.write_table(pairs(ROWS), local / "labelled.parquet", row_group_size=50)
    (local / "tiny.yaml").write_text(RECIPE)
    cloud.write(f"{BASE}/in/labelled.parquet", (local / "labelled.parquet").read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        for name, value in cloud.environment.items():
            patch.setenv(name, value)
        do_preprocess(f"{BASE}/in/labelled.parquet", local, f"{BASE}/examples")
        train.run(
            ["--examples", f"{BASE}/examples", "--output", f"{BASE}/bundle",
             "--checkpoints", f"{BASE}/checkpoints", "--epochs", "1"]
        )  # fmt: skip
        scores = score.run(score_flags(BASE, "scores"))
        yield Runs(cloud, local, scores)


def do_preprocess(inputs: str, local: Path, output: str) -> dict:
    return preprocess.run(
        ["--input", inputs, "--recipe", str(local / "tiny.yaml"), "--output", output,
         "--train_shards", "2"]
    )  # fmt: skip


def score_flags(base: str, output: str) -> list[str]:
    return [
        "--input", f"{base}/in/*.parquet", "--model", f"{base}/bundle",
        "--output", f"{base}/{output}", "--shard_rows", "100",
    ]  # fmt: skip


def objects(cloud: FakeCloud, folder: str, ending: str) -> dict[str, bytes]:
    names = [name for name in cloud.names(folder) if name.endswith(ending)]
    return {name: cloud.read(f"{folder}/{name}") for name in names}


def files_in(folder: Path, ending: str) -> dict[str, bytes]:
    paths = (path for path in folder.rglob(f"*{ending}") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def local_scores(runs: Runs) -> dict[str, bytes]:
    """The scores of the bucket's bundle and input, made on this machine."""
    for name in runs.cloud.names(f"{BASE}/bundle"):
        path = runs.local / "bundle" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(runs.cloud.read(f"{BASE}/bundle/{name}"))
    (runs.local / "in").mkdir()
    (runs.local / "labelled.parquet").rename(runs.local / "in" / "labelled.parquet")
    score.run(score_flags(str(runs.local), "scores"))
    return files_in(runs.local / "scores", ".parquet")


def test_scores_are_the_same_bytes_as_on_this_machine(runs: Runs, local_scores: dict[str, bytes]):
    assert len(local_scores) == 3
    assert objects(runs.cloud, f"{BASE}/scores", ".parquet") == local_scores
    assert runs.scores["rows_in"] == runs.scores["rows_scored"] == ROWS


def test_examples_are_the_same_bytes_as_on_this_machine(runs: Runs, local_scores):
    do_preprocess(str(runs.local / "in" / "labelled.parquet"), runs.local, str(runs.local / "ex"))

    in_bucket = objects(runs.cloud, f"{BASE}/examples", ".tfrecord.gz")
    assert in_bucket == files_in(runs.local / "ex", ".tfrecord.gz") and len(in_bucket) == 3
    assert "_SUCCESS" in runs.cloud.names(f"{BASE}/examples")
    left = [name for name in runs.cloud.names(BASE) if name.startswith("examples.partial")]
    assert left == []


def test_checkpoints_lie_in_the_bucket(runs: Runs):
    assert "checkpoint" in runs.cloud.names(f"{BASE}/checkpoints")


def test_an_embedding_store_in_the_bucket_is_used_again(runs: Runs, local_scores):
    store = ["--embedding_store", f"{BASE}/store"]
    first = score.run([*score_flags(BASE, "scores-1"), *store])
    second = score.run([*score_flags(BASE, "scores-2"), *store])

    assert first["sentences_encoded"] > 0 and second["sentences_encoded"] == 0
    assert objects(runs.cloud, f"{BASE}/scores-2", ".parquet") == local_scores


def test_the_report_lies_in_the_bucket_and_says_the_same(runs: Runs, local_scores):
    def judge(base: str) -> dict:
        flags = ["--input", f"{base}/scores", "--output", f"{base}/report", "--resamples", "20"]
        return evaluate.run(flags)

    in_bucket, here = judge(BASE), judge(str(runs.local))
    assert {"metrics.json", "report.html", "_SUCCESS"} <= set(runs.cloud.names(f"{BASE}/report"))
    differs = {"lineage", "seconds", "started"}
    assert {k: v for k, v in in_bucket.items() if k not in differs} == {
        k: v for k, v in here.items() if k not in differs
    }


def test_a_bundle_is_calibrated_and_looked_at_in_the_bucket(runs: Runs, local_scores):
    calibrate.run(
        ["--input", f"{BASE}/scores", "--model", f"{BASE}/bundle",
         "--output", f"{BASE}/bundle-calibrated"]
    )  # fmt: skip
    for name, kind in (("bundle-calibrated", "bundle"), ("scores", "scores")):
        found = inspect.run([f"{BASE}/{name}"])
        assert found["kind"] == kind and found["sums"] == "valid"


def dataflow_flags(cloud: FakeCloud, output: str) -> list[str]:
    return [*score_flags(BASE, output), *on_dataflow(cloud)]


def on_dataflow(cloud: FakeCloud) -> list[str]:
    return [
        "--runner=DataflowRunner", f"--project={PROJECT}", f"--region={REGION}",
        f"--temp_location={BASE}/tmp", f"--dataflow_endpoint={cloud.dataflow_url}",
    ]  # fmt: skip


def test_what_is_staged_scores_to_the_same_bytes(
    runs: Runs, local_scores: dict[str, bytes], cloud: FakeCloud, capsys: pytest.CaptureFixture
):
    """The service gets a graph and a source package; a worker installs the one, runs the other."""
    cloud.dataflow.execute = True
    manifest = score.run(dataflow_flags(cloud, "scores-dataflow"))

    assert objects(cloud, f"{BASE}/scores-dataflow", ".parquet") == local_scores
    assert manifest["rows_in"] == ROWS and len(cloud.dataflow.jobs) == 1
    printed = capsys.readouterr().out
    assert f"Created job with id: [{cloud.dataflow.jobs[0].id}]" in printed
    assert f"{ROWS} rows in = {ROWS} scored + 0 rejected" in printed

    assert score.run(dataflow_flags(cloud, "scores-dataflow")) == manifest  # complete already
    assert len(cloud.dataflow.jobs) == 1


def test_what_is_staged_finds_and_clusters_to_the_same_bytes(
    runs: Runs, local_scores: dict[str, bytes], cloud: FakeCloud
):
    """By cells, so that there are several blocks, and with the most similar of each sentence."""
    cloud.dataflow.execute = True

    def search(base: str, output: str, *flags: str) -> dict:
        return find.run(
            ["--input", f"{base}/in/labelled.parquet", "--sentence_column", "sentence1",
             "--model", f"{base}/bundle", "--output", f"{base}/{output}", "--min_similarity",
             "0.6", "--cells", "3", "--top_k", "2", *flags]
        )  # fmt: skip

    def group(base: str, pairs: str, output: str, *flags: str) -> dict:
        words = ["--input", f"{base}/{pairs}", "--output", f"{base}/{output}", *flags]
        return cluster.run([*words, "--edges_at_once", "40"])

    found = search(BASE, "pairs-dataflow", *on_dataflow(cloud))
    here = search(str(runs.local), "pairs")
    assert objects(cloud, f"{BASE}/pairs-dataflow", ".parquet") == files_in(
        runs.local / "pairs", ".parquet"
    )
    assert found["pairs_found"] == here["pairs_found"] > 0
    assert found["pairs"] == found["pairs_compared"] + found["pairs_excluded"]

    group(BASE, "pairs-dataflow", "clusters-dataflow", *on_dataflow(cloud))
    group(str(runs.local), "pairs", "clusters")
    assert objects(cloud, f"{BASE}/clusters-dataflow", ".parquet") == files_in(
        runs.local / "clusters", ".parquet"
    )
    steps = [job.request["labels"]["step"] for job in cloud.dataflow.jobs]
    assert steps == ["find", "cluster"]


def test_preprocessing_on_dataflow_writes_the_same_examples(
    runs: Runs, local_scores, cloud: FakeCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Staged and run as above; tf.Transform's graph goes through TensorFlow's own gs:// client."""
    cloud.dataflow.execute = True
    with tls_proxy(cloud.storage, tmp_path) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        done = subprocess.run(
            [sys.executable, "-m", "pipelines.preprocess",
             "--input", f"{BASE}/in/labelled.parquet", "--recipe", str(runs.local / "tiny.yaml"),
             "--output", f"{BASE}/examples-dataflow", "--train_shards", "2", *on_dataflow(cloud)],
            cwd=ROOT, capture_output=True, text=True, timeout=1200,
        )  # fmt: skip

    assert done.returncode == 0, done.stderr[-2000:] + str([j.error for j in cloud.dataflow.jobs])
    assert f"Created job with id: [{cloud.dataflow.jobs[0].id}]" in done.stdout
    job = cloud.dataflow.jobs[0].request
    assert job["name"].startswith("twinbeam-preprocess-")
    assert job["labels"]["step"] == "preprocess"
    in_bucket, here = f"{BASE}/examples-dataflow", f"{BASE}/examples"
    assert objects(cloud, in_bucket, ".gz") == objects(cloud, here, ".gz")
    names = [name for name in cloud.names(in_bucket) if not name.endswith("/")]
    assert names == cloud.names(here)
    for name in ("transform_fn/assets/vocabulary", "recipe.yaml"):
        assert cloud.read(f"{in_bucket}/{name}") == cloud.read(f"{here}/{name}")
    differs = {"started", "seconds", "pairs_per_second"}
    manifest, wanted = (json.loads(cloud.read(f"{one}/manifest.json")) for one in (in_bucket, here))
    assert {k: v for k, v in manifest.items() if k not in differs} == {
        k: v for k, v in wanted.items() if k not in differs
    }
    assert manifest["rows_in"] == ROWS and manifest["vocabulary_size"] > 2
    assert open_examples(in_bucket).train.total == manifest["rows_train"]
    assert [name for name in cloud.names(BASE) if name.startswith("examples-dataflow.p")] == []


def test_evaluating_on_dataflow_says_the_same(runs: Runs, local_scores, cloud: FakeCloud):
    cloud.dataflow.execute = True
    flags = ["--input", f"{BASE}/scores", "--resamples", "20"]
    in_bucket = evaluate.run([*flags, "--output", f"{BASE}/report-dataflow", *on_dataflow(cloud)])
    here = evaluate.run([*flags, "--output", f"{BASE}/report-here"])

    differs = {"seconds", "started"}
    assert {k: v for k, v in in_bucket.items() if k not in differs} == {
        k: v for k, v in here.items() if k not in differs
    }
    assert in_bucket["rows"] == ROWS
    (job,) = cloud.dataflow.jobs
    assert job.request["name"].startswith("twinbeam-evaluate-")
    assert job.request["labels"]["step"] == "evaluate"


def test_an_error_of_a_worker_comes_back_as_its_one_line(
    runs: Runs, cloud: FakeCloud, capsys: pytest.CaptureFixture
):
    cloud.dataflow.execute = True
    options = score_options.parse(dataflow_flags(cloud, "scores-refused"))
    never = replace(options, max_reject_fraction=-1.0)  # no flag says so

    assert command_line.run_main(lambda: score_pairs(never)) == 1
    error = capsys.readouterr().err
    assert "--max_reject_fraction -1.0 allows" in error.splitlines()[-1]
    assert "_SUCCESS" not in cloud.names(f"{BASE}/scores-refused")
