"""A real Airflow: API server, DAG processor, scheduler, triggerer, on loopback and SQLite."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from urllib.request import urlopen

import pyarrow.parquet as pq
import pytest

from deploy.airflow.local import LocalAirflow, processes, stop
from tests.airflow.kit import PYTHON, ROOT, make_data, settings
from tests.airflow.read import check_day, read_json

# The first day that is scored dies when a part is done, as if its machine had gone. MARK names it.
# In many small shards, so that much is still to be done at that moment.
DIES_ONCE = """#!/bin/bash
if [[ "$*" == *pipelines.score* && "$*" =~ DATA/scores/[-0-9]+ ]]; then
  day=${BASH_REMATCH[0]}
  if [[ ! -e MARK ]]; then
    echo $day > MARK
    PYTHON "$@" --shard_rows=10 &
    while kill -0 $! && ! compgen -G "$day/*/scores/_shards/*.parquet.json"; do sleep 0.01; done
    kill -9 $!
    exit 137
  fi
  if [[ $(<MARK) == "$day" ]]; then set -- "$@" --shard_rows=10; fi
fi
exec PYTHON "$@"
"""


def days_before(last: str, count: int) -> list[str]:
    end = date.fromisoformat(last)
    return [(end - timedelta(days=back)).isoformat() for back in range(count, 0, -1)]


@pytest.fixture(scope="module")
def nights(
    tmp_path_factory: pytest.TempPathFactory, data: Path, trained: SimpleNamespace
) -> Iterator[tuple[LocalAirflow, Path]]:
    """Airflow with a week of pairs and a bundle; what `make airflow-up` starts.

    Which of the days is last night's is for Airflow to say: before 02:30 it is not yesterday. Three
    days are there to spare, for a test that sees midnight.
    """
    folder = tmp_path_factory.mktemp("nights")
    today = datetime.now(UTC).date().isoformat()
    make_data(folder, *days_before(today, 7), today)
    for file in (folder / "pairs").glob("*/*.parquet"):
        pq.write_table(pq.read_table(file), file, row_group_size=10)
    (folder / "models").mkdir()
    shutil.copy(data / "models/current.json", folder / "models")
    python = folder / "python"
    script = DIES_ONCE.replace("PYTHON", PYTHON).replace("DATA", str(folder))
    script = script.replace("MARK", str(folder / "died"))
    python.write_text(script)
    python.chmod(0o755)
    airflow = LocalAirflow(
        folder / "home", free_ports(), settings(folder) | {"python": str(python)}
    )
    try:
        airflow.start()
        yield airflow, folder
    finally:
        stop(airflow.home)
        assert processes(airflow.home) == []


def free_ports() -> int:
    """A port that is free, and so is the one after it: of the page and of the files."""
    while True:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            with suppress(OSError):
                other.bind(("127.0.0.1", port + 1))
                return port


def tasks(airflow: LocalAirflow, dag: str, run_id: str) -> dict[str, dict]:
    found = airflow.ask("GET", f"/api/v2/dags/{dag}/dagRuns/{run_id}/taskInstances")
    return {task["task_id"]: task for task in found["task_instances"]}


def sockets(pid: int) -> Iterator[str]:
    """The inodes of a process's sockets; none of one that has ended."""
    with suppress(FileNotFoundError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                target = os.readlink(entry)
                if target.startswith("socket:["):
                    yield target[8:-1]


def listeners(pids: list[int]) -> set[str]:
    """The addresses on which these processes listen, from /proc."""
    inodes = {inode for pid in pids for inode in sockets(pid)}
    found = set()
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and words[9] in inodes:  # 0A: it listens
                packed = bytes.fromhex(words[1].partition(":")[0])
                parts = [packed[i : i + 4][::-1] for i in range(0, len(packed), 4)]
                found.add(socket.inet_ntop(family, b"".join(parts)))
    return found


def test_the_scheduler_runs_last_night_and_a_task_that_dies_is_tried_again(
    nights: tuple[LocalAirflow, Path],
):
    airflow, folder = nights
    listened: set[str] = set()

    def ended() -> dict | None:
        listened.update(listeners(processes(airflow.home)))
        return airflow.finished("twinbeam_daily")

    airflow.switch("twinbeam_daily", on=True)
    night = airflow.wait(ended, "the night ended", seconds=1200)
    done = tasks(airflow, "twinbeam_daily", night["dag_run_id"])
    ago = datetime.now(UTC) - datetime.fromisoformat(night["logical_date"])
    day = night["logical_date"][:10]

    assert (night["state"], night["run_type"]) == ("success", "scheduled")
    assert night["logical_date"][10:].startswith("T02:30:00")
    assert timedelta(days=1) < ago < timedelta(days=2, hours=1), "last night, and no earlier one"
    assert {task["state"] for task in done.values()} == {"success"}
    assert (folder / "died").read_text().strip().endswith(day)
    assert done["score"]["try_number"] == 2
    assert done["wait_for_input"]["try_number"] == 1
    pointer = check_day(folder, day)  # each usable row once, though the first try had some
    manifest = read_json(Path(pointer["scores"]) / "_manifest.json")
    assert 0 < manifest["rows_this_run"] < manifest["rows_in"], "it went on where it had died"
    assert pointer["run_id"] == night["dag_run_id"]
    assert listened == {"127.0.0.1"}, "nothing listened elsewhere, servers and tasks"


def warnings(airflow: LocalAirflow, dag: str) -> set[str]:
    """What the logs of a DAG's tasks warn of, each once."""
    lines = [
        json.loads(line)
        for file in (airflow.home / "logs").glob(f"dag_id={dag}/**/*.log")
        for line in file.read_text().splitlines()
        if line.startswith("{")
    ]
    assert any(line["level"] == "info" for line in lines), "there are logs, and they are JSON"
    return {line["event"] for line in lines if line["level"] not in ("info", "debug")}


def test_the_logs_of_a_night_have_no_warning_but_of_what_happened(
    nights: tuple[LocalAirflow, Path],
):
    airflow, _ = nights
    lines = warnings(airflow, "twinbeam_daily")

    # The first try of `score` was killed, by this test.
    assert [text for text in lines if "137" not in text and "failed" not in text.lower()] == []


def test_the_links_of_a_task_lead_to_its_results(nights: tuple[LocalAirflow, Path]):
    airflow, folder = nights
    run = airflow.finished("twinbeam_daily")["dag_run_id"]
    found = {}
    for name in ("wait_for_input", "score", "evaluate", "publish", "plan"):
        path = f"/api/v2/dags/twinbeam_daily/dagRuns/{run}/taskInstances/{name}/links"
        found[name] = airflow.ask("GET", path)["extra_links"]
    pointer = read_json(folder / "scores/latest.json")

    assert {name: set(links) for name, links in found.items()} == {
        "wait_for_input": {"Pairs"},
        "score": {"Scores"},
        "evaluate": {"Report"},
        "publish": {"Scores", "Report"},
        "plan": set(),
    }
    with urlopen(found["evaluate"]["Report"]) as response:
        assert response.read() == Path(pointer["report"], "report.html").read_bytes()
    with urlopen(found["score"]["Scores"]) as response:
        assert b"_manifest.json" in response.read()
    with urlopen(found["wait_for_input"]["Pairs"]) as response:
        assert b"_SUCCESS" in response.read()
    assert found["publish"] == {**found["score"], **found["evaluate"]}


def test_the_page_says_when_a_dag_runs(nights: tuple[LocalAirflow, Path]):
    airflow, _ = nights
    dag = airflow.ask("GET", "/api/v2/dags/twinbeam_daily")

    assert "02:30" in dag["timetable_description"] and "02:30 UTC" in dag["description"]


def test_a_backfill_of_three_days_has_each_days_rows(nights: tuple[LocalAirflow, Path]):
    airflow, folder = nights
    last = read_json(folder / "scores/latest.json")
    days = days_before(last["date"], 3)
    # As docs/airflow.md has it: `make airflow-cli ARGS="backfill create …"` runs this command.
    words = [PYTHON, "-m", "deploy.airflow.local", "--home", str(airflow.home), "cli", "backfill"]
    words += ["create", "--dag-id", "twinbeam_daily", "--max-active-runs", "2"]
    words += ["--from-date", days[0], "--to-date", last["date"]]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

    def ended() -> list[dict]:
        runs = [run for run in airflow.runs("twinbeam_daily") if run["run_type"] == "backfill"]
        return runs if all(run["state"] in ("success", "failed") for run in runs) else []

    runs = airflow.wait(ended, "the backfill ended", seconds=1200)

    assert [run["state"] for run in runs] == ["success"] * 3
    assert [run["logical_date"][:10] for run in runs] == days
    for day in days:
        check_day(folder, day)
    assert read_json(folder / "scores/latest.json") == last, "an older day is not the last one"
    assert sorted(path.name for path in (folder / "scores").glob("2*")) == [*days, last["date"]]


def test_a_killed_task_ends_its_command(nights: tuple[LocalAirflow, Path]):
    airflow, folder = nights
    day = days_before(read_json(folder / "scores/latest.json")["date"], 4)[0]
    waiting = folder / "wait"
    script = (folder / "python").read_text()
    hangs = f'#!/bin/bash\nif [[ "$*" == *pipelines.score* ]]; then echo $$ > {waiting}; '
    (folder / "python").write_text(hangs + "sleep 500; fi\n" + script.partition("\n")[2])
    run_id = airflow.trigger("twinbeam_daily", {"date": day})
    try:
        airflow.wait(waiting.exists, "the command runs", seconds=600)
        command = int(airflow.wait(waiting.read_text, "it said who it is", seconds=20))
        path = f"/api/v2/dags/twinbeam_daily/dagRuns/{run_id}/taskInstances/score"
        airflow.ask("PATCH", path, {"new_state": "failed"})
        airflow.wait(lambda: not Path(f"/proc/{command}").exists(), "it has ended", seconds=300)
        airflow.wait(lambda: airflow.finished("twinbeam_daily", run_id), "the run", seconds=300)
        done = tasks(airflow, "twinbeam_daily", run_id)
    finally:
        (folder / "python").write_text(script)

    states = {name: task["state"] for name, task in done.items()}
    assert (states["score"], states["publish"]) == ("failed", "upstream_failed")
    assert states["stop_jobs"] == "success", "it cancels what still runs, whatever ended the task"
    assert not (folder / "scores" / day / "current.json").exists()


def test_a_run_that_is_marked_failed_stays_failed(nights: tuple[LocalAirflow, Path]):
    """Between two tasks too, where no task of it has failed: what was to come is skipped."""
    airflow, folder = nights
    day = days_before(read_json(folder / "scores/latest.json")["date"], 5)[0]
    waiting = folder / "marked"
    script = (folder / "python").read_text()
    hangs = f'#!/bin/bash\nif [[ "$*" == *pipelines.score* ]]; then echo $$ > {waiting}; '
    (folder / "python").write_text(hangs + "sleep 500; fi\n" + script.partition("\n")[2])
    run_id = airflow.trigger("twinbeam_daily", {"date": day})
    run = f"/api/v2/dags/twinbeam_daily/dagRuns/{run_id}"
    try:
        airflow.wait(waiting.exists, "the command runs", seconds=600)
        airflow.ask("PATCH", run, {"state": "failed"})
        ended = airflow.wait(
            lambda: airflow.finished("twinbeam_daily", run_id), "the run", seconds=300
        )
        done = {name: task["state"] for name, task in tasks(airflow, *run.split("/")[4::2]).items()}
    finally:
        (folder / "python").write_text(script)

    assert (done["score"], done["publish"]) == ("failed", "skipped"), "what Airflow makes of it"
    assert done["stop_jobs"] == "success", "the teardown ran"
    assert (done["check_outcome"], ended["state"]) == ("failed", "failed")


def test_a_promoted_bundle_starts_a_run(nights: tuple[LocalAirflow, Path]):
    airflow, folder = nights
    before = len(airflow.runs("twinbeam_daily"))
    assets = airflow.ask("GET", "/api/v2/assets?name_pattern=twinbeam_bundle")["assets"]
    extra = {"bundle": "promoted by hand"}
    airflow.ask("POST", "/api/v2/assets/events", {"asset_id": assets[0]["id"], "extra": extra})
    airflow.wait(
        lambda: len(airflow.runs("twinbeam_daily")) > before, "a run is there", seconds=600
    )
    run = airflow.runs("twinbeam_daily")[-1]
    done = airflow.wait(
        lambda: airflow.finished("twinbeam_daily", run["dag_run_id"]), "it ended", seconds=600
    )

    assert (done["state"], done["run_type"]) == ("success", "asset_triggered")
    assert json.loads((folder / "scores/latest.json").read_text())["run_id"] == run["dag_run_id"]
