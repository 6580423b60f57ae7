"""What is sent to Vertex AI: read by the client's own types, and by a service on loopback."""

from __future__ import annotations

import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipelines import vertex
from pipelines.options import train_options

FLAGS = (
    "--project", "my-project", "--region", "europe-west4", "--image", "registry/worker:gpu",
    "--examples", "gs://b/examples", "--output", "gs://b/bundle",
)  # fmt: skip


@pytest.fixture
def main(monkeypatch, capsys):
    def call(*flags):
        monkeypatch.setattr("sys.argv", ["vertex", *flags])
        code = vertex.main()
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


@pytest.fixture
def service():
    """Answers as Vertex AI does when a custom job is created; keeps what it got."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            length = int(self.headers["Content-Length"])
            body = json.loads(self.rfile.read(length))
            server.got.append((self.path.partition("?")[0], body, self.headers["Authorization"]))
            status, answer = server.answer
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.got = []
    server.answer = (200, {"name": "projects/7/locations/europe-west4/customJobs/42"})
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def as_proto(custom_job):
    """By the client's own types; what they do not know is an error."""
    from google.cloud.aiplatform_v1.types import CustomJob
    from google.protobuf import json_format

    return json_format.ParseDict(custom_job, CustomJob.pb(CustomJob()))


def test_the_request_is_what_the_clients_types_say(main):
    code, out, _ = main(
        *FLAGS, "--workers", "3", "--accelerator", "NVIDIA_L4", "--machine", "g2-standard-24",
        "--accelerators", "2", "--spot", "--max_hours", "5", "--service_account", "me@x.com",
        "--epochs", "4", "--global_batch_size", "1024", "--dry_run",
    )  # fmt: skip
    assert code == 0
    request = json.loads(out)
    assert request["parent"] == "projects/my-project/locations/europe-west4"
    job = as_proto(request["customJob"])
    from google.cloud.aiplatform_v1 import AcceleratorType, Scheduling

    spec = job.job_spec
    chief, workers = spec.worker_pool_specs
    # Vertex: the first pool is the primary replica, always one machine.
    assert (chief.replica_count, workers.replica_count) == (1, 2)
    for pool in (chief, workers):
        machine = pool.machine_spec
        assert machine.machine_type == "g2-standard-24"
        assert machine.accelerator_type == AcceleratorType.NVIDIA_L4.value
        assert machine.accelerator_count == 2
        assert pool.container_spec.image_uri == "registry/worker:gpu"
        assert list(pool.container_spec.command) == ["python", "-m", "pipelines.train"]
    assert spec.scheduling.timeout.seconds == 5 * 3600
    assert spec.scheduling.strategy == Scheduling.Strategy.SPOT.value
    assert spec.scheduling.restart_job_on_worker_restart
    assert spec.service_account == "me@x.com"


def test_the_containers_flags_are_those_of_training(main):
    _, out, _ = main(*FLAGS, "--epochs", "4", "--tensorboard", "gs://b/logs", "--dry_run")
    job = as_proto(json.loads(out)["customJob"])
    (pool,) = job.job_spec.worker_pool_specs  # one machine: the chief alone
    options = train_options.parse(list(pool.container_spec.args))
    assert options.examples == "gs://b/examples" and options.output == "gs://b/bundle"
    assert options.checkpoints == "gs://b/bundle-checkpoints"  # so that a restart goes on
    assert (options.epochs, options.tensorboard) == (4, "gs://b/logs")
    assert not job.job_spec.scheduling.restart_job_on_worker_restart


def test_machines_without_gpus(main):
    _, out, _ = main(*FLAGS, "--accelerator", "none", "--dry_run")
    (pool,) = as_proto(json.loads(out)["customJob"]).job_spec.worker_pool_specs
    assert pool.machine_spec.accelerator_count == 0


def test_it_is_submitted_to_the_service(main, service, cloud):
    code, out, errors = main(*FLAGS, "--workers", "2", "--endpoint", service.url)
    assert code == 0, errors
    assert out.startswith("submitted projects/7/locations/europe-west4/customJobs/42\n")
    ((path, body, token),) = service.got
    assert path == "/v1/projects/my-project/locations/europe-west4/customJobs"
    assert token.startswith("Bearer ")
    _, dry, _ = main(*FLAGS, "--workers", "2", "--dry_run")
    assert as_proto(body) == as_proto(json.loads(dry)["customJob"])


@pytest.mark.parametrize(
    ("status", "printed"), [(403, "permission denied here"), (400, "quota of GPUs")]
)
def test_a_refusal_is_reported_in_one_line(main, service, cloud, status, printed):
    service.answer = (status, {"error": {"code": status, "message": printed}})
    code, _, errors = main(*FLAGS, "--endpoint", service.url)
    assert code == 1 and errors.count("\n") == 1
    assert printed in errors and "did not accept the job" in errors


def test_without_credentials_one_line(main, monkeypatch, tmp_path):
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    code, _, errors = main(*FLAGS, "--endpoint", "http://127.0.0.1:9")
    assert code == 2 and errors.count("\n") == 1
    assert "no Google Cloud credentials were found" in errors


def test_credentials_that_do_not_work_are_reported_in_one_line(main, monkeypatch, cloud, tmp_path):
    credentials = json.loads(Path(os.environ["GOOGLE_APPLICATION_CREDENTIALS"]).read_text())
    credentials["credential_source"]["file"] = str(tmp_path / "gone")
    (tmp_path / "credentials.json").write_text(json.dumps(credentials))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "credentials.json"))
    code, _, errors = main(*FLAGS, "--endpoint", "http://127.0.0.1:9")
    assert code == 2 and errors.count("\n") == 1
    assert "no Google credentials that work" in errors


def test_without_the_package_one_line_and_the_request_can_still_be_seen(main, monkeypatch):
    monkeypatch.setitem(sys.modules, "google.cloud.aiplatform_v1", None)
    code, _, errors = main(*FLAGS)
    assert code == 2 and errors.count("\n") == 1
    assert "pip install 'twinbeam[vertex]'" in errors
    assert main(*FLAGS, "--dry_run")[0] == 0


@pytest.mark.parametrize(
    ("flags", "printed"),
    [
        (("--output", "/home/me/bundle"), "--output must be a gs:// folder"),
        (("--checkpoints", "here"), "--checkpoints must be a gs:// folder"),
        (("--accelerator", "NVIDIA_ABACUS"), "NVIDIA_TESLA_T4"),
    ],
)
def test_what_cannot_be_run_is_reported_in_one_line(main, cloud, flags, printed):
    code, _, errors = main(*FLAGS, *flags)
    assert code == 2 and errors.count("\n") == 1
    assert printed in errors


def test_a_flag_that_training_does_not_know_is_refused(main, monkeypatch):
    with pytest.raises(SystemExit) as ended:
        main(*FLAGS, "--epoch", "4", "--dry_run")
    assert ended.value.code == 2
