"""All DAGs for real, on this machine: Airflow's `dag.test()`, Beam's operator, our commands."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.airflow.kit import settings
from tests.airflow.read import check_day, ids, read_json

RunDag = Callable[..., SimpleNamespace]


@pytest.fixture(scope="module")
def night(data: Path, trained: SimpleNamespace, run_dag: RunDag) -> SimpleNamespace:
    """A first run of `twinbeam_daily`."""
    return run_dag("twinbeam_daily", settings(data), "2026-11-17")


def test_training_promotes_a_first_bundle(data: Path, trained: SimpleNamespace):
    pointer = read_json(data / "models/current.json")
    bundle = Path(pointer["bundle"])
    skipped = {task for task, state in trained.tasks.items() if state == "skipped"}

    assert trained.state == "success"
    assert skipped == {"score_current", "evaluate_current"}
    assert pointer["fingerprint"] == read_json(bundle / "manifest.json")["fingerprint"]
    assert pointer["before"] is None and "no bundle yet" in pointer["reason"]
    assert pointer["run_id"] == trained.run_id
    assert list((data / "models").iterdir()) == [data / "models/current.json"]


def test_a_day_is_scored_judged_and_published(data: Path, night: SimpleNamespace):
    pointer = check_day(data, "2026-11-17")
    scored = pq.read_table(sorted(Path(pointer["scores"]).glob("*.parquet")))
    right = pc.mean(pc.equal(scored["label"], scored["similarity_label"]).cast("float64")).as_py()

    assert (night.state, set(night.tasks.values())) == ("success", {"success"})
    accuracy = pointer["metrics"]["accuracy"]
    assert accuracy == pytest.approx(right, abs=1e-8), "it is kept with nine digits"
    assert (Path(pointer["report"]) / "report.html").exists()
    assert read_json(data / "scores/latest.json") == pointer
    assert pointer["fingerprint"] == read_json(data / "models/current.json")["fingerprint"]


def test_the_same_day_again_changes_nothing_but_the_pointer(
    data: Path, night: SimpleNamespace, run_dag: RunDag
):
    before = check_day(data, "2026-11-17")
    files = {path: path.stat().st_mtime_ns for path in Path(before["scores"]).rglob("*.parquet")}
    again = run_dag("twinbeam_daily", settings(data), "2026-11-16", date="2026-11-17")
    after = check_day(data, "2026-11-17")

    assert again.state == "success"
    assert after["scores"] == before["scores"] and after["run_id"] == again.run_id
    assert files == {path: path.stat().st_mtime_ns for path in files}


def test_pairs_without_labels_are_scored_and_not_judged(
    data: Path, trained: SimpleNamespace, run_dag: RunDag
):
    folder = data / "pairs/2026-11-14"
    folder.mkdir(parents=True)
    for file in sorted((data / "pairs/2026-11-17").glob("*.parquet")):
        pq.write_table(pq.read_table(file).drop_columns("label"), folder / file.name)
    (folder / "_SUCCESS").touch()
    latest = {"date": "2026-11-17"}
    (data / "scores").mkdir(exist_ok=True)
    (data / "scores/latest.json").write_text(json.dumps(latest))
    done = run_dag("twinbeam_daily", settings(data), "2026-11-14")
    pointer = check_day(data, "2026-11-14")

    assert done.state == "success" and done.tasks["evaluate"] == "skipped"
    assert pointer["report"] is None and pointer["metrics"] is None
    assert read_json(data / "scores/latest.json") == latest, "an older day never becomes the last"


def clusters_of(pointer: dict) -> dict[int, int]:
    """Each row's id → the id of its cluster."""
    table = pq.read_table(sorted(Path(pointer["clusters"]).glob("*.parquet")))
    found = dict(zip(table["id"].to_pylist(), table["cluster_id"].to_pylist(), strict=True))
    assert len(found) == table.num_rows, "each row once"
    return found


def equal_sentences(data: Path, *days: str) -> list[set[int]]:
    """The ids of rows with the same sentence."""
    groups: dict[str, set[int]] = {}
    for day in days:
        for file in sorted((data / "sentences" / day).glob("*.parquet")):
            for row in pq.read_table(file).to_pylist():
                if (row["sentence"] or "").strip(" \t\n\u3000"):
                    groups.setdefault(row["sentence"], set()).add(row["id"])
    return list(groups.values())


def test_two_nights_are_matched_each_with_all_before(
    data: Path, trained: SimpleNamespace, run_dag: RunDag
):
    """What two nights come to is what one run over both days comes to."""
    days = ("2026-11-17", "2026-11-18")
    first = run_dag("twinbeam_match", settings(data), days[0])
    before = clusters_of(read_json(data / f"matches/{days[0]}/current.json"))
    second = run_dag("twinbeam_match", settings(data), days[1])
    pointer = read_json(data / "matches/latest.json")
    pairs = read_json(f"{pointer['pairs'][1]}/_manifest.json")
    rows = [len(ids(data / "sentences" / day)) for day in days]
    clusters = clusters_of(pointer)

    assert (first.state, second.state) == ("success", "success")
    assert set(first.tasks.values()) == set(second.tasks.values()) == {"success"}
    assert (pointer["date"], pointer["run_id"]) == (days[1], second.run_id)
    assert len(pointer["pairs"]) == len(pointer["rows"]) == 2
    for group in equal_sentences(data, *days):
        assert len({clusters[row] for row in group}) == 1, "equal sentences are one cluster"
    assert len(clusters) == sum(rows) == pointer["rows_clustered"]
    # Ids stay: a cluster of the first night whose first row still gives it its name is called so.
    assert {before[row] for row in before} & set(clusters.values())
    kept = [row for row in before if before[row] == row]
    assert all(clusters[row] == row or clusters[row] in kept for row in kept)

    whole = data / "whole"
    shutil.copytree(data / "models", whole / "models")
    for day in days:
        for file in (data / "sentences" / day).glob("*.parquet"):
            (whole / "sentences" / days[1]).mkdir(parents=True, exist_ok=True)
            shutil.copy(file, whole / "sentences" / days[1] / f"{day}-{file.name}")
    (whole / "sentences" / days[1] / "_SUCCESS").touch()
    run_dag("twinbeam_match", settings(whole), days[1])
    together = read_json(whole / "matches/latest.json")
    alone = read_json(f"{together['pairs'][0]}/_manifest.json")

    def parts(cluster_of: dict[int, int]) -> set[frozenset[int]]:
        found: dict[int, set[int]] = {}
        for row, cluster in cluster_of.items():
            found.setdefault(cluster, set()).add(row)
        return {frozenset(part) for part in found.values()}

    assert parts(clusters_of(together)) == parts(clusters)
    assert pairs["pairs_compared"] < alone["pairs_compared"], "old rows are not compared again"
    assert pairs["sentences_encoded"] < alone["sentences_encoded"], "the store has the old ones"


def test_the_gate_refuses_a_worse_bundle(data: Path, trained: SimpleNamespace, run_dag: RunDag):
    flipped = data / "flipped"  # to learn the opposite makes a bundle that is surely worse
    flipped.mkdir()
    for file in sorted((data / "labelled").glob("*.parquet")):
        table = pq.read_table(file)
        place = table.column_names.index("label")
        opposite = pc.subtract(pa.scalar(1, pa.int64()), table["label"])
        pq.write_table(table.set_column(place, "label", opposite), flipped / file.name)
    before = (data / "models/current.json").read_text()
    messages = []
    with listening(messages) as url:
        done = run_dag(
            "twinbeam_train",
            settings(data, alert_url=url),
            "2026-11-16",
            labelled="{data}/flipped/*.parquet",
        )
    decided = read_json(data / "training/20261116T023000/gate.json")

    assert done.state == "failed"
    assert (done.tasks["gate"], done.tasks["promote"]) == ("failed", "upstream_failed")
    assert decided["promoted"] is False and "not better" in decided["reason"]
    assert (data / "models/current.json").read_text() == before
    assert len(messages) == 1 and "twinbeam_train.gate failed" in messages[0]["text"]
    assert decided["reason"] in messages[0]["text"], "whoever is called is told why"


def test_without_a_bundle_the_first_task_says_what_to_do(
    data: Path, tmp_path: Path, run_dag: RunDag
):
    shutil.copytree(data / "pairs/2026-11-17", tmp_path / "pairs/2026-11-17")
    messages = []
    with listening(messages) as url:
        done = run_dag("twinbeam_daily", settings(tmp_path, alert_url=url), "2026-11-17")

    assert done.state == "failed" and done.tasks["plan"] == "failed"
    assert len(messages) == 1, "once, after the last try"
    assert "no bundle was promoted yet" in messages[0]["text"]
    assert not (tmp_path / "scores").exists()


def test_ids_of_two_days_never_meet(data: Path):
    assert not set(ids(data / "pairs/2026-11-17")) & set(ids(data / "pairs/2026-11-18"))


class listening:
    """A server on loopback that keeps the JSON that is posted to it."""

    def __init__(self, messages: list):
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self) -> str:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_port}"

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
