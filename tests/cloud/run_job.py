"""Runs a Dataflow job from what was staged in the bucket: its graph, its package, its options.

python -m tests.cloud.run_job JOB.json does what a worker does: installs the staged source package
without its dependencies in a folder of its own, and runs the staged graph with nothing else of the
project on the path. It catches package data that is missing and what cannot be pickled.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

RUN = """
import json, sys
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2 as api
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
sys.path[:] = [entry for entry in sys.path if entry]
graph = api.Pipeline.FromString(open("pipeline.pb", "rb").read())
for environment in graph.components.environments.values():
    environment.urn, environment.payload = "beam:env:embedded_python:v1", b""
    del environment.dependencies[:]
options = json.load(open("options.json"))
kept = {key: options[key] for key in ("project", "region", "job_name") if key in options}
result = FnApiRunner().run_via_runner_api(graph, PipelineOptions.from_dictionary(kept))
state = result.wait_until_finish()
import pipelines
assert pipelines.__file__.startswith(sys.argv[1]), pipelines.__file__
sys.exit(0 if state == "DONE" else 1)
"""


def run_job(job: dict[str, Any]) -> None:
    """Runs the job to its end.

    Raises:
        subprocess.CalledProcessError: it failed; what it said is on stderr.
    """
    options = job["environment"]["sdkPipelineOptions"]["options"]
    with tempfile.TemporaryDirectory(prefix="job-") as folder:
        Path(folder, "pipeline.pb").write_bytes(_read(options["pipelineUrl"]))
        Path(folder, "options.json").write_text(json.dumps(options))
        installed = str(Path(folder, "installed"))
        for package in job["environment"]["workerPools"][0].get("packages", []):
            if package["name"].endswith(".tar.gz"):
                _install(package, folder, installed)
        path = {"PYTHONPATH": installed}
        subprocess.run(
            [sys.executable, "-c", RUN, installed], cwd=folder, env=os.environ | path, check=True
        )


def _install(package: dict[str, str], folder: str, target: str) -> None:
    archive = Path(folder, package["name"])
    archive.write_bytes(_read(package["location"].replace("storage.googleapis.com/", "gs://")))
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation",
         "--disable-pip-version-check", "--target", target, str(archive)],
        check=True,
    )  # fmt: skip


def _read(path: str) -> bytes:
    from google.cloud import storage

    bucket, _, name = path.removeprefix("gs://").partition("/")
    return storage.Client(project="any").bucket(bucket).blob(name).download_as_bytes()


if __name__ == "__main__":
    run_job(json.loads(sys.argv[1]))
