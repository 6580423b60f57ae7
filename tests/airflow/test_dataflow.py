"""The nightly DAG in the cloud: Airflow, the real DataflowRunner client, stand-ins on loopback.

Real: both DAGs, Airflow's operators, hooks and triggers, our commands, Beam's client, and the work
of the job, done from what was staged. Stood in for: the bucket, the Dataflow service, credentials,
and the one call by which Airflow's trigger asks for a job, which is gRPC; here it asks over HTTP.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

import twinbeam_common
import twinbeam_tasks
import twinbeam_train
from tests.airflow.fake_cloud import FakeCloud
from tests.airflow.kit import PYTHON, settings
from tests.airflow.read import check_day, read_json

DAY = "2026-11-18"


@pytest.fixture(scope="module")
def running_cloud() -> Iterator[FakeCloud]:
    cloud = FakeCloud(PYTHON)
    yield cloud
    cloud.close()


@pytest.fixture
def polls() -> list:
    """What happens when the trigger asks for the job, one after the other; the last one stays."""
    return []


@pytest.fixture
def cloud(running_cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch, polls: list) -> FakeCloud:
    """Airflow's connections lead to the stand-ins."""
    from airflow.providers.google.cloud.hooks import dataflow
    from google.api_core.client_options import ClientOptions
    from google.cloud.dataflow_v1beta3 import Job

    for name, value in running_cloud.description["environment"].items():
        monkeypatch.setenv(name, value)
    connection = {"conn_type": "google_cloud_platform"}
    connection |= {"extra": {"project": running_cloud.description["project"]}}
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", json.dumps(connection))
    endpoint = ClientOptions(api_endpoint=running_cloud.description["endpoint"] + "/")
    monkeypatch.setattr(dataflow.DataflowHook, "get_client_options", lambda *_, **__: endpoint)

    async def get_job(_: Any, job_id: str, **__: Any) -> Job:
        happens = polls.pop(0) if len(polls) > 1 else polls[0]
        await asyncio.to_thread(happens)
        job = running_cloud.ask("job", job_id)
        return Job(id=job["id"], current_state=job["currentState"], type_="JOB_TYPE_BATCH")

    monkeypatch.setattr(dataflow.AsyncDataflowHook, "get_job", get_job)
    running_cloud.ask("forget")
    return running_cloud


@pytest.fixture
def in_cloud(cloud: FakeCloud, data: Path, trained: SimpleNamespace) -> dict[str, Any]:
    """The settings of a cloud that has a day of pairs and the bundle."""
    place = f"{cloud.description['bucket']}/nights"
    pointer = read_json(data / "models/current.json")
    cloud.ask("upload", str(data / "pairs"), f"{place}/pairs")
    cloud.ask("upload", pointer["bundle"], f"{place}/bundles/first")
    replaced = {**pointer, "bundle": f"{place}/bundles/first"}
    models = data.parent / "models"
    models.mkdir(exist_ok=True)
    (models / "current.json").write_text(json.dumps(replaced))
    cloud.ask("upload", str(models), f"{place}/models")
    flags = {"dataflow_endpoint": cloud.description["endpoint"], "max_num_workers": 3}
    project = {key: cloud.description[key] for key in ("project", "region")}
    return settings(place, where="cloud", cloud={**project, "dataflow": flags})


def fails() -> None:
    raise ConnectionError("the network is down")


def test_a_day_goes_through_dataflow_and_a_retry_adopts_the_job(
    cloud: FakeCloud,
    in_cloud: dict[str, Any],
    polls: list,
    tmp_path: Path,
    data: Path,
    run_dag: Callable[..., SimpleNamespace],
):
    # Airflow loses sight of the job once; it goes on, and is done when Airflow asks again.
    polls += [fails, lambda: cloud.ask("work"), lambda: None]
    done = run_dag("twinbeam_daily", in_cloud, DAY)
    jobs = cloud.ask("jobs")

    assert done.state == "success", done.tasks
    assert len(jobs) == 1, "the retry waited for the job that ran already"
    fingerprint = read_json(data / "models/current.json")["fingerprint"]
    assert jobs[0]["request"]["name"] == f"airflow-twinbeam-score-{DAY}-{fingerprint[:12]}"
    assert re.fullmatch("[a-z]([-a-z0-9]*[a-z0-9])?", jobs[0]["request"]["name"])
    assert jobs[0]["request"]["labels"]["airflow-version"].startswith("v3-")
    pool = jobs[0]["request"]["environment"]["workerPools"][0]
    assert pool["autoscalingSettings"]["maxNumWorkers"] == 3

    cloud.ask("download", in_cloud["data"], str(tmp_path))
    pointer = tmp_path / f"scores/{DAY}/current.json"
    pointer_text = pointer.read_text()
    pointer.write_text(pointer_text.replace(in_cloud["data"], str(tmp_path)))
    published = check_day(tmp_path, DAY)

    run_dag("twinbeam_daily", settings(data), DAY)
    here = check_day(data, DAY)
    names = sorted(file.name for file in Path(here["scores"]).glob("*.parquet"))
    for name in names:
        ours, theirs = (Path(night["scores"], name).read_bytes() for night in (here, published))
        assert ours == theirs, "the same bytes as on this machine"
    assert names and published["metrics"] == here["metrics"]

    # The same day once more: its scores are complete, so there is no job to start or wait for.
    again = run_dag("twinbeam_daily", in_cloud, DAY)

    assert again.state == "success" and len(cloud.ask("jobs")) == 1


def test_a_task_that_ends_for_good_takes_its_job_with_it(
    cloud: FakeCloud,
    in_cloud: dict[str, Any],
    polls: list,
    run_dag: Callable[..., SimpleNamespace],
):
    polls += [fails]
    done = run_dag("twinbeam_daily", in_cloud, "2026-11-19", retries=0)

    assert (done.state, done.tasks["score"], done.tasks["publish"]) == (
        "failed", "failed", "upstream_failed",
    )  # fmt: skip
    assert done.tasks["stop_jobs"] == "success"
    assert [job["state"] for job in cloud.ask("jobs")] == ["JOB_STATE_CANCELLED"]


def test_a_kill_while_it_submits_cancels_the_job(cloud: FakeCloud, in_cloud: dict[str, Any]):
    place, name = in_cloud["data"], "airflow-twinbeam-score-killed"
    options = {"input": f"{place}/pairs/2026-11-20/*.parquet", "output": f"{place}/killed"}
    options["model"] = f"{place}/bundles/first"
    step = twinbeam_common.step(in_cloud, "score", options, name=name)
    task = twinbeam_tasks.BeamStep(task_id="score", step=step)
    instance = SimpleNamespace(xcom_push=lambda **_: None)
    with pytest.raises(TaskDeferred) as deferred:
        task.execute({"ti": instance, "task_instance": instance, "task": task})
    job = cloud.ask("jobs")[0]
    running = job["state"]
    task.on_kill()

    assert deferred.value.trigger.job_id == job["id"] and running == "JOB_STATE_RUNNING"
    assert [job["state"] for job in cloud.ask("jobs")] == ["JOB_STATE_CANCELLED"]


class FakeVertex:
    """Airflow's hook for custom jobs, without the service; the types are those of its client."""

    def __init__(self):
        self.requests: list[dict[str, Any]] = []
        self.active: list[str] = []
        self.cancelled: list[str] = []

    def __call__(self, **_: Any) -> FakeVertex:
        return self

    def create_custom_job(self, **job: Any) -> Any:
        self.requests.append(job)
        self.active.append("7")
        return self.job("7", "JOB_STATE_RUNNING")

    def job(self, number: str, state: str) -> Any:
        from google.cloud.aiplatform_v1 import CustomJob

        return CustomJob(name=f"projects/p/locations/r/customJobs/{number}", state=state)

    def list_custom_jobs(self, *, filter: str, page_size, page_token, read_mask, **_: Any) -> list:
        assert filter == 'display_name="airflow-twinbeam-train-1"'
        ended = [self.job("5", "JOB_STATE_FAILED"), self.job("6", "JOB_STATE_SUCCEEDED")]
        return ended + [self.job(number, "JOB_STATE_RUNNING") for number in self.active]

    def extract_custom_job_id(self, custom_job_name: str) -> str:
        return custom_job_name.rpartition("/")[2]

    def cancel_custom_job(self, *, custom_job: str, project_id: str, region: str, **_: Any) -> None:
        self.cancelled.append(custom_job)
        self.active.remove(custom_job)


@pytest.fixture
def vertex(monkeypatch: pytest.MonkeyPatch) -> FakeVertex:
    from airflow.providers.google.cloud.hooks.vertex_ai import custom_job as hooks
    from airflow.providers.google.cloud.operators.vertex_ai import custom_job as operators

    fake = FakeVertex()
    monkeypatch.setattr(hooks, "CustomJobHook", fake)
    monkeypatch.setattr(operators, "CustomJobHook", fake)
    return fake


MACHINE = {
    "image": "registry/twinbeam:1",
    "machine_type": "n1-standard-8",
    "accelerator_type": "NVIDIA_TESLA_T4",
    "accelerator_count": 1,
}


@pytest.fixture
def train_step(tmp_path: Path) -> dict[str, Any]:
    cloud = {"project": "my-project", "region": "europe-west4", "train": MACHINE}
    request = settings(tmp_path, where="cloud", cloud=cloud)
    flags = {"examples": "gs://b/examples", "output": f"{tmp_path}/bundle", "seed": None}
    return twinbeam_train.train_step(request, flags, name="airflow-twinbeam-train-1")


def train(step: dict[str, Any]) -> tuple[twinbeam_train.TrainStep, Any]:
    """The task once it waits, and what it waits with."""
    task = twinbeam_train.TrainStep(task_id="train", step=step)
    instance = SimpleNamespace(xcom_push=lambda **_: None)
    with pytest.raises(TaskDeferred) as deferred:
        task.execute({"ti": instance, "task_instance": instance, "task": task})
    return task, deferred.value.trigger


def test_training_asks_vertex_for_a_job(train_step: dict[str, Any], vertex: FakeVertex):
    from google.cloud.aiplatform_v1 import CustomJob

    _, trigger = train(train_step)
    job = CustomJob(vertex.requests[0]["custom_job"])  # refuses a field that it does not know
    pool = job.job_spec.worker_pool_specs[0]

    assert (trigger.custom_job_id, trigger.location) == ("7", "europe-west4")
    assert (job.display_name, pool.replica_count) == ("airflow-twinbeam-train-1", 1)
    assert pool.machine_spec.accelerator_type.name == "NVIDIA_TESLA_T4"
    assert pool.container_spec.image_uri == "registry/twinbeam:1"
    assert list(pool.container_spec.command) == ["python"]
    assert list(pool.container_spec.args) == [
        "-m", "pipelines.train", "--examples=gs://b/examples", f"--output={train_step['output']}",
    ]  # fmt: skip


def test_a_retry_of_training_adopts_the_job(train_step: dict[str, Any], vertex: FakeVertex):
    train(train_step)
    _, trigger = train(train_step)

    assert trigger.custom_job_id == "7" and len(vertex.requests) == 1


def test_training_that_is_killed_takes_its_job_with_it(
    train_step: dict[str, Any], vertex: FakeVertex
):
    task, _ = train(train_step)
    task.on_kill()
    train(train_step)
    twinbeam_train.stop_training.function(train_step)
    twinbeam_train.stop_training.function(train_step)  # there is nothing left to stop

    assert vertex.cancelled == ["7", "7"] and vertex.active == []
