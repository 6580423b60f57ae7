"""Jobs through the real Dataflow client: what is asked for, field by field, and how they end."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.dataflow import dataflow_runner

from pipelines import score
from pipelines.dataflow import jobs
from pipelines.dataflow import settings as dataflow
from pipelines.options import beam_interface, command_line
from pipelines.options.score_options import parse
from pipelines.scoring import plan_scores
from tests.cloud.dataflow_service import CANCELLED, DONE, FAILED, PENDING, RUNNING
from tests.cloud.fakes import BUCKET, PROJECT, REGION, FakeCloud
from tests.scoring_kit import EqualBundle, pairs, write
from transforms.errors import RunError, UserError

ROOT = Path(__file__).resolve().parent.parent.parent
pytestmark = pytest.mark.timeout(600)  # each makes a source package: long on a busy machine
GPU = "type:nvidia-tesla-t4;count:2;install-nvidia-driver"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch):
    """Beam asks every five seconds how the job is."""
    monkeypatch.setattr(plan_scores, "BundleScorer", EqualBundle)
    clock = SimpleNamespace(sleep=lambda _: None, time=time.time)
    monkeypatch.setattr(dataflow_runner, "time", clock)


@pytest.fixture
def inputs(cloud: FakeCloud, bucket: str, tmp_path: Path) -> str:
    path = write(tmp_path / "a.parquet", pairs(100))
    cloud.write(f"{bucket}/in/a.parquet", path.read_bytes())
    return bucket


def flags(cloud: FakeCloud, bucket: str, *more: str) -> list[str]:
    return [
        "--input", f"{bucket}/in/*.parquet", "--model", f"{bucket}/bundle",
        "--output", f"{bucket}/out", "--runner=DataflowRunner", f"--project={PROJECT}",
        f"--region={REGION}", f"--temp_location={bucket}/tmp",
        f"--dataflow_endpoint={cloud.dataflow_url}", *more,
    ]  # fmt: skip


def submit(cloud: FakeCloud, bucket: str, *more: str) -> dict:
    """Submits; the fake service does no work, so that there is no manifest at its end."""
    with pytest.raises(UserError, match=r"has no _manifest\.json"):
        score.run(flags(cloud, bucket, *more))
    return cloud.dataflow.jobs[-1].request


ASKED = (
    "--machine_type=n1-standard-4", "--disk_size_gb=50", "--worker_disk_type=pd-ssd",
    "--num_workers=3", "--max_num_workers=20", "--autoscaling_algorithm=THROUGHPUT_BASED",
    "--network=my-network", "--subnetwork=regions/europe-west1/subnetworks/my-subnet",
    "--no_use_public_ips", "--service_account_email=worker@my-project.iam.gserviceaccount.com",
    "--labels=team=search", "--accelerator=nvidia-tesla-t4:2",
    "--sdk_container_image=europe-docker.pkg.dev/my-project/twinbeam/worker:1",
)  # fmt: skip


@pytest.mark.slow
def test_the_job_is_asked_for_as_the_flags_say(cloud: FakeCloud, inputs: str, capsys):
    job = submit(cloud, inputs, *ASKED)
    environment = job["environment"]
    (pool,) = environment["workerPools"]
    sent = environment["sdkPipelineOptions"]["options"]

    assert re.fullmatch(r"twinbeam-score-[0-9a-f]{10}-[0-9a-f]{10}", job["name"])
    assert job["type"] == "JOB_TYPE_BATCH"
    assert job["labels"]["app"] == "twinbeam" and job["labels"]["step"] == "score"
    assert job["labels"]["team"] == "search"
    assert pool["machineType"] == "n1-standard-4"
    assert (pool["diskSizeGb"], pool["diskType"]) == (50, "pd-ssd")
    assert pool["numWorkers"] == 3
    assert pool["autoscalingSettings"] == {
        "maxNumWorkers": 20,
        "algorithm": "AUTOSCALING_ALGORITHM_BASIC",
    }
    assert pool["network"] == "my-network"
    assert pool["subnetwork"] == "regions/europe-west1/subnetworks/my-subnet"
    assert pool["ipConfiguration"] == "WORKER_IP_PRIVATE"
    assert environment["serviceAccountEmail"] == "worker@my-project.iam.gserviceaccount.com"
    assert environment["serviceOptions"] == [f"worker_accelerator={GPU}"]
    # One process on a machine, two threads of work in it: the model is loaded once.
    assert pool["numThreadsPerWorker"] == dataflow.THREADS == 2
    assert dataflow.ONE_PROCESS in environment["experiments"]
    assert "use_multiple_sdk_containers" not in environment["experiments"]
    assert "use_runner_v2" in environment["experiments"]
    assert not [e for e in environment["experiments"] if "streaming" in e or "windmill" in e]
    image = "europe-docker.pkg.dev/my-project/twinbeam/worker:1"
    assert {one["containerImage"] for one in pool["sdkHarnessContainerImages"]} == {image}
    assert not [one for one in pool.get("packages", []) if one["name"].endswith(".tar.gz")]
    assert (sent["project"], sent["region"]) == (PROJECT, REGION)
    assert sent["save_main_session"] is False
    assert sent["pipelineUrl"].startswith(f"{inputs}/tmp/{job['name']}.")
    graph = beam_runner_api_pb2.Pipeline.FromString(cloud.read(sent["pipelineUrl"]))
    hints = {
        hint
        for environment in graph.components.environments.values()
        for hint in environment.resource_hints.items()
    }
    assert hints == {("beam:resources:accelerator:v1", GPU.encode())}
    assert f"Created job with id: [{cloud.dataflow.jobs[0].id}]" in capsys.readouterr().out


@pytest.mark.slow
def test_without_an_image_the_workers_get_our_source_package(cloud: FakeCloud, inputs: str):
    (pool,) = submit(cloud, inputs)["environment"]["workerPools"]

    (package,) = [one for one in pool["packages"] if one["name"].endswith(".tar.gz")]
    assert package["name"] == "workflow.tar.gz"
    staged = package["location"].replace("storage.googleapis.com/", "gs://")
    assert 10_000 < len(cloud.read(staged)) < 1_000_000
    assert "beam_python3" in pool["sdkHarnessContainerImages"][0]["containerImage"]


@pytest.mark.slow
def test_the_id_is_reported_before_the_job_has_ended(cloud: FakeCloud, inputs: str, capsys):
    printed: list[str] = []
    cloud.dataflow.states = [RUNNING, DONE]
    seen = dataflow_runner.DataflowPipelineResult.wait_until_finish

    def look(self, duration=None):
        printed.append(capsys.readouterr().out)
        return seen(self, duration)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataflow_runner.DataflowPipelineResult, "wait_until_finish", look)
        submit(cloud, inputs)
    assert "Created job with id: [2026" in printed[0]


@pytest.mark.slow
def test_a_second_submission_adopts_the_job_that_runs(cloud: FakeCloud, inputs: str, capsys):
    job = submit(cloud, inputs)
    cloud.dataflow.jobs[0].states = [PENDING, RUNNING, RUNNING, DONE]
    with pytest.raises(UserError, match=r"has no _manifest\.json"):  # waited for, then looked
        score.run(flags(cloud, inputs))

    assert len(cloud.dataflow.jobs) == 1
    assert f"The job {job['name']} runs already" in capsys.readouterr().out
    assert cloud.dataflow.jobs[0].state == DONE

    cloud.dataflow.jobs[0].states = [RUNNING]
    with pytest.raises(UserError, match="is being written by the job twinbeam-score"):
        score.run(flags(cloud, inputs, "--threshold=0.3"))
    assert len(cloud.dataflow.jobs) == 1


@pytest.mark.slow
def test_a_job_of_the_same_name_that_does_something_else_is_not_taken_for_ours(
    cloud: FakeCloud, inputs: str
):
    """Airflow always gives a name, so a name says nothing of output, options or step."""
    named = [*flags(cloud, inputs), "--job_name=nightly"]
    submit(cloud, inputs, "--job_name=nightly")
    cloud.dataflow.jobs[0].states = [RUNNING] * 9 + [DONE]
    other = [one.replace(f"{inputs}/out", f"{inputs}/elsewhere") for one in named]
    for argv, expected in (
        (other, "a job nightly .* runs already, and it writes to another folder"),
        ([*named, "--threshold=0.3"], "is being written by the job nightly"),
    ):
        with pytest.raises(UserError, match=expected):
            score.run(argv)

    assert len(cloud.dataflow.jobs) == 1


COMMAND = """
import sys
from pipelines import score
from pipelines.scoring import plan_scores
from tests.scoring_kit import EqualBundle
plan_scores.BundleScorer = EqualBundle
score.run(sys.argv[1:])
"""


@pytest.mark.slow
def test_a_command_that_is_killed_leaves_its_job_to_the_next(cloud: FakeCloud, inputs: str, capsys):
    cloud.dataflow.states = [RUNNING]
    command = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *flags(cloud, inputs)],
        cwd=ROOT, env={**os.environ, **cloud.environment}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert any("Created job with id: [" in line for line in command.stdout)
    command.kill()
    command.wait()

    cloud.dataflow.jobs[0].states = [RUNNING, RUNNING, RUNNING, DONE]
    with pytest.raises(UserError, match=r"has no _manifest\.json"):
        score.run(flags(cloud, inputs))
    assert len(cloud.dataflow.jobs) == 1 and "runs already" in capsys.readouterr().out


@pytest.mark.slow
def test_a_job_submitted_elsewhere_at_the_same_moment_is_adopted(
    cloud: FakeCloud, inputs: str, capsys, monkeypatch: pytest.MonkeyPatch
):
    submit(cloud, inputs)
    cloud.dataflow.jobs[0].states = [RUNNING, RUNNING, RUNNING, DONE]
    active_jobs = jobs._active_jobs
    answers = iter([lambda _: [], active_jobs])  # at the first look it is not there yet
    monkeypatch.setattr(jobs, "_active_jobs", lambda options: next(answers)(options))
    with pytest.raises(UserError, match=r"has no _manifest\.json"):
        score.run(flags(cloud, inputs))

    assert len(cloud.dataflow.jobs) == 1
    assert "was submitted elsewhere just now" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("states", "message", "error", "expected"),
    [
        ([RUNNING, FAILED], "Workflow failed. Causes: quota", RunError, "failed: Workflow failed"),
        ([RUNNING, CANCELLED], "", RunError, "was cancelled"),
        (
            [RUNNING, FAILED],
            "Traceback (most recent call last):\nRunError: a said why [while running 'x']",
            Exception,
            "a said why",
        ),
    ],
)
def test_a_job_that_does_not_end_well_ends_the_command_with_one_line(
    cloud: FakeCloud, inputs: str, states, message, error, expected, capsys
):
    cloud.dataflow.states, cloud.dataflow.error = states, message

    assert command_line.run_main(lambda: score.run(flags(cloud, inputs))) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert expected in lines[-1] and lines[-1].startswith("twinbeam: ")


def test_an_estimate_reads_the_footers_and_submits_nothing(cloud: FakeCloud, inputs: str, capsys):
    cloud.storage.calls.clear()
    estimate_flags = ["--estimate", "--machine_type=n1-standard-4", "--max_num_workers=9"]
    found = score.run(flags(cloud, inputs, *estimate_flags, "--accelerator=nvidia-tesla-t4:2"))

    assert (found["rows"], found["shards"], found["workers"], found["vcpus"]) == (100, 1, 1, 4)
    assert found["costs"]["GPU"] == pytest.approx(found["hours"] * 2 * 0.42)
    assert "nothing was submitted" in capsys.readouterr().out
    assert cloud.dataflow.jobs == [] and not [c for c in cloud.storage.calls if c.uploading]
    assert {call.name for call in cloud.calls("GET") if call.query.get("alt") == "media"} == {
        f"{inputs.rpartition('/')[2]}/in/a.parquet"
    }


@pytest.mark.slow
def test_a_template_is_staged_and_nothing_runs(cloud: FakeCloud, inputs: str, capsys):
    place = f"{inputs}/templates/score"
    assert score.run(flags(cloud, inputs, f"--template_location={place}")) == {}

    assert cloud.dataflow.jobs == [] and place in capsys.readouterr().out
    assert b'"pipelineUrl"' in cloud.read(place)
    assert [name for name in cloud.names(f"{inputs}/tmp") if name.endswith("pipeline.pb")]


BASE = ["--runner=DataflowRunner", "--project=my-project", "--region=europe-west1"]


def configured(*more: str, paths=("gs://bkt/x",), accelerator=None, base=BASE) -> PipelineOptions:
    found = beam_interface.beam_options([*base, *more])
    dataflow.configure(found, step="score", paths=paths, accelerator=accelerator)
    return found


@pytest.fixture
def emulated(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:1")  # nobody answers there
    # Beam looks for a retention policy of the buckets, and says so; that is all it asks them.
    monkeypatch.setattr(
        "apache_beam.options.pipeline_options.GoogleCloudOptions"
        "._warn_if_soft_delete_policy_enabled",
        lambda *_: None,
    )


@pytest.mark.parametrize(
    ("more", "how", "expected"),
    [
        ([], {}, "needs --temp_location, such as --temp_location=gs://"),
        (["--temp_location=gs://bkt/t"], {"base": BASE[:2]}, "needs --region"),
        (["--temp_location=gs://bkt/t"], {"base": BASE[::2]}, "needs --project"),
        (
            ["--temp_location=gs://bkt/t"],
            {"paths": ["gs://bkt/x", "out"]},
            "out is not in a bucket",
        ),
        (["--temp_location=gs://bkt/t", "--project=123"], {}, r"Invalid Project ID \(123\)"),
        (["--temp_location=gs://bkt/t", "--job_name=My Job"], {}, r"Invalid job_name \(My Job\)"),
        (["--temp_location=gs://b/t"], {}, r"Invalid GCS bucket \(gs://b/t\)"),
        (["--temp_location=gs://bkt/t", "--num_workers=0"], {}, r"Invalid value \(0\)"),
        (
            ["--temp_location=gs://bkt/t", "--num_workers=9", "--max_num_workers=3"],
            {},
            "cannot exceed max_num_workers",
        ),
    ],
)
def test_what_cannot_work_is_reported_before_anything_is_read(emulated, more, how, expected):
    with pytest.raises(UserError, match=expected):
        configured(*more, **how)


def test_beams_own_checks_pass_on_what_we_fill_in(emulated):
    found = configured("--temp_location=gs://bkt/t", accelerator="nvidia-l4:1")
    jobs.name_job(found, step="score", output="gs://bkt/out", identity=["key"])

    # A runner of its own, and no endpoint on localhost, which would turn the checks off.
    validator = PipelineOptionsValidator(found, dataflow_runner.DataflowRunner())
    assert validator.is_service_runner()
    assert validator.validate() == []


def test_a_name_follows_from_the_work_and_is_valid(emulated):
    def name(output: str, identity: object, *more: str) -> str:
        found = configured("--temp_location=gs://bkt/t", *more)
        return jobs.name_job(found, step="preprocess", output=output, identity=identity)

    one = name("gs://bkt/out", ["key", 1])
    assert one == name("gs://bkt/out", ["key", 1])
    assert len({one, name("gs://bkt/other", ["key", 1]), name("gs://bkt/out", ["key", 2])}) == 3
    assert re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", one)
    assert name("gs://bkt/out", ["key", 1], "--job_name=mine") == "mine"


@pytest.mark.parametrize("text", ["t4", "t4:0", "t4:x", ":1", "nvidia-l4:1;x", "t4:-1"])
def test_an_accelerator_is_a_type_and_a_count(text: str, capsys):
    with pytest.raises(SystemExit):
        parse(["--input=x", "--model=m", "--output=o", f"--accelerator={text}"])
    assert "expected TYPE:COUNT such as nvidia-tesla-t4:1" in capsys.readouterr().err


def test_an_accelerator_needs_dataflow():
    with pytest.raises(UserError, match="goes with --runner=DataflowRunner"):
        configured(base=[], accelerator="nvidia-l4:1")


def test_what_a_person_chose_is_kept(emulated):
    found = configured(
        "--temp_location=gs://bkt/t", "--experiments=use_multiple_sdk_containers",
        "--number_of_worker_harness_threads=7", "--labels=step=mine", "--setup_file=./setup.py",
    ).get_all_options()  # fmt: skip

    assert found["number_of_worker_harness_threads"] == 7
    assert found["experiments"] == ["use_multiple_sdk_containers"]
    assert "step=mine" in found["labels"] and "step=score" not in found["labels"]
    assert found["setup_file"] == "./setup.py"


def test_the_bucket_of_the_fakes_is_a_valid_one():
    assert re.fullmatch(r"[a-z0-9][-_a-z0-9.]+[a-z0-9]", BUCKET)
