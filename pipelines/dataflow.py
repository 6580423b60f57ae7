"""Dataflow: what a job is called and runs on, how it is followed, and what becomes of it.

Everything here does nothing on other runners, so a command line need not ask where it runs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import (
    DebugOptions,
    GoogleCloudOptions,
    PipelineOptions,
    SetupOptions,
    StandardOptions,
    WorkerOptions,
)

from transforms import buckets
from transforms.errors import RunError, UserError

RUNNER = "DataflowRunner"
ONE_PROCESS = "no_use_multiple_sdk_containers"
# Two shards at a time: while one is encoded, on all cores, the other is read or written.
THREADS = 2
SETUP_FILE = Path(__file__).resolve().parent.parent / "setup.py"
_ACCELERATOR = re.compile(r"[a-z][a-z0-9-]*:[1-9][0-9]*")
_NOT_IN_LABELS = re.compile(r"[^a-z0-9_-]")


def add_flags(to: argparse.ArgumentParser) -> None:
    """Adds the flags of Dataflow that are ours."""
    group = to.add_argument_group("Dataflow")
    group.add_argument(
        "--accelerator",
        type=_accelerator,
        metavar="TYPE:COUNT",
        help="GPUs of each worker, such as nvidia-tesla-t4:1",
    )


def _accelerator(text: str) -> str:
    if not _ACCELERATOR.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"expected TYPE:COUNT such as nvidia-tesla-t4:1, received {text!r}"
        )
    return text


def is_used(options: PipelineOptions) -> bool:
    """Whether the options ask for Dataflow."""
    return options.view_as(StandardOptions).runner == RUNNER


def only_staged(options: PipelineOptions) -> bool:
    """Whether a template is asked for: the job is staged and does not run now."""
    return is_used(options) and bool(options.view_as(GoogleCloudOptions).template_location)


def configure(
    options: PipelineOptions, *, step: str, paths: Sequence[str], accelerator: str | None = None
) -> None:
    """Fills in what a job of ours needs, and checks what was given, before anything is read.

    Args:
        options: the run's Beam options; they are changed.
        step: which of our commands it is, for labels.
        paths: every path that workers will use.
        accelerator: GPUs of a worker, TYPE:COUNT.

    Raises:
        UserError: something is missing, or cannot work on Dataflow.
    """
    if not is_used(options):
        if accelerator:
            raise UserError(f"--accelerator goes with --runner={RUNNER}")
        return
    _check_given(options, paths)
    buckets.find_credentials()
    _package(options)
    _one_model_a_worker(options)
    _label(options, step)
    if accelerator:
        _accelerate(options, accelerator)
    _validate(options)


def _check_given(options: PipelineOptions, paths: Sequence[str]) -> None:
    cloud = options.view_as(GoogleCloudOptions)
    for flag, example in (
        ("project", "my-project"),
        ("region", "europe-west1"),
        ("temp_location", "gs://my-bucket/tmp"),
    ):
        if not getattr(cloud, flag):
            raise UserError(f"--runner={RUNNER} needs --{flag}, such as --{flag}={example}")
    for path in paths:
        if not buckets.is_object(path):
            raise UserError(
                f"{path} is not in a bucket, where Dataflow's workers could reach it; "
                "copy it with 'gcloud storage cp', and give its gs:// path"
            )


def _package(options: PipelineOptions) -> None:
    """Workers take our packages from the image, or from a source package made of setup.py."""
    setup = options.view_as(SetupOptions)
    setup.save_main_session = False  # our modules can be imported; nothing is kept of a session
    image = options.view_as(WorkerOptions).sdk_container_image
    if image or setup.setup_file or setup.extra_packages or setup.requirements_file:
        return
    if not SETUP_FILE.is_file():
        raise UserError(
            "workers need twinbeam: give --sdk_container_image (make image), or run from a "
            "checkout, whose setup.py is sent to them"
        )
    setup.setup_file = str(SETUP_FILE)


def _one_model_a_worker(options: PipelineOptions) -> None:
    """One process on each machine, which holds the model once and encodes on all its cores.

    Dataflow's default is a process for each core, each with a model of its own.
    """
    debug = options.view_as(DebugOptions)
    if not any("use_multiple_sdk_containers" in given for given in debug.experiments or []):
        debug.add_experiment(ONE_PROCESS)
    debug.number_of_worker_harness_threads = debug.number_of_worker_harness_threads or THREADS


def _label(options: PipelineOptions, step: str) -> None:
    cloud = options.view_as(GoogleCloudOptions)
    told = {"app": "twinbeam", "step": step, "version": _version()}
    given = {label.partition("=")[0] for label in cloud.labels or []}
    ours = [f"{key}={value}" for key, value in told.items() if key not in given]
    cloud.labels = [*(cloud.labels or []), *ours]


def _version() -> str:
    try:
        return _NOT_IN_LABELS.sub("-", version("twinbeam").lower())
    except ImportError:  # it runs from a checkout that was not installed
        return "checkout"


def _accelerate(options: PipelineOptions, accelerator: str) -> None:
    kind, _, count = accelerator.partition(":")
    wanted = f"type:{kind};count:{count};install-nvidia-driver"
    cloud, standard = options.view_as(GoogleCloudOptions), options.view_as(StandardOptions)
    cloud.dataflow_service_options = [
        *(cloud.dataflow_service_options or []),
        f"worker_accelerator={wanted}",
    ]
    standard.resource_hints = [*(standard.resource_hints or []), f"accelerator={wanted}"]


def _validate(options: PipelineOptions) -> None:
    """Beam's own checks, which it would tell in many lines, and later.

    The folders first: where they are wrong Beam would make a bucket, and go on.
    """
    from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator
    from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner

    validator = PipelineOptionsValidator(options, DataflowRunner())
    cloud = options.view_as(GoogleCloudOptions)
    folders = [name for name in ("temp_location", "staging_location") if getattr(cloud, name)]
    wrong = [error for name in folders for error in validator.validate_gcs_path(cloud, name)]
    errors = wrong or validator.validate()
    if errors:
        raise UserError(f"--runner={RUNNER}: {errors[0]}")


def name_job(options: PipelineOptions, *, step: str, output: str, decides: Any) -> str:
    """Names the job after what it does: the same command gives the same name, anywhere, any day.

    A name that was given with --job_name is kept.

    Returns:
        The name: letters, digits and hyphens, at most 63.
    """
    cloud = options.view_as(GoogleCloudOptions)
    if not cloud.job_name:
        cloud.job_name = f"twinbeam-{step}-{_short(output)}-{_short(decides)}"
    return cloud.job_name


def _short(told: Any) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:10]


def adopt(options: PipelineOptions, *, step: str, output: str, decides: Any) -> bool:
    """Names the job, and waits for it where it runs already.

    Args:
        options: the run's Beam options; they get the job's name.
        step: which of our commands it is.
        output: the folder that is written.
        decides: all that decides what is written there.

    Returns:
        Whether there was such a job; it is done then.

    Raises:
        UserError: another job is writing to the same folder.
        RunError: the job that was found failed.
    """
    if not is_used(options) or only_staged(options):
        return False
    name = name_job(options, step=step, output=output, decides=decides)
    same_output = name.rpartition("-")[0]
    for job in _active_jobs(options):
        if job.name == name:
            print(f"The job {name} runs already; waiting for it instead of starting another")
            follow(_result(options, job), options)
            return True
        if name.startswith("twinbeam-") and job.name.rpartition("-")[0] == same_output:
            raise UserError(
                f"{output} is being written by the job {job.name} ({job.id}), with other inputs "
                "or options; wait for it, cancel it, or choose another folder"
            )
    return False


def _client(options: PipelineOptions) -> Any:
    from apache_beam.runners.dataflow.internal.apiclient import DataflowApplicationClient

    return DataflowApplicationClient(options)


def _active_jobs(options: PipelineOptions) -> list[Any]:
    from google.api_core.exceptions import GoogleAPICallError
    from google.cloud import dataflow_v1beta3 as dataflow

    cloud = options.view_as(GoogleCloudOptions)
    request = dataflow.ListJobsRequest(
        project_id=cloud.project,
        location=cloud.region,
        filter=dataflow.ListJobsRequest.Filter.ACTIVE,
    )
    try:
        return list(_client(options)._jobs_client.list_jobs(request=request))
    except GoogleAPICallError as error:
        raise UserError(
            f"Dataflow does not answer for project {cloud.project} in {cloud.region}: "
            f"{error.message}; check both, and that the Dataflow API is enabled"
        ) from None


def _result(options: PipelineOptions, job: Any) -> Any:
    from apache_beam.runners.dataflow.dataflow_runner import DataflowPipelineResult, DataflowRunner

    runner = DataflowRunner()
    runner.dataflow_client = _client(options)
    return DataflowPipelineResult(job, runner, options)


def submit(pipeline: beam.Pipeline, options: PipelineOptions) -> None:
    """Submits a job and waits for its end; of a template, only stages it.

    Raises:
        RunError: the job failed or was cancelled.
    """
    from apache_beam.runners.dataflow.internal.apiclient import DataflowJobAlreadyExistsError

    try:
        result = pipeline.run()
    except DataflowJobAlreadyExistsError:  # somebody submitted it a moment ago
        name = options.view_as(GoogleCloudOptions).job_name
        job = next((job for job in _active_jobs(options) if job.name == name), None)
        if job is None:
            raise RunError(
                f"the job {name} was started elsewhere and has ended; run again"
            ) from None
        print(f"The job {name} was submitted elsewhere just now; waiting for it")
        result = _result(options, job)
    if not getattr(result, "has_job", False):
        place = options.view_as(GoogleCloudOptions).template_location
        print(f"Staged, nothing runs yet; template: {place}" if place else "Dry run: nothing runs")
        return
    follow(result, options)


def follow(result: Any, options: PipelineOptions) -> None:
    """Says which job it is at once, and waits for its end.

    Raises:
        RunError: it failed or was cancelled.
    """
    from apache_beam.runners.dataflow.dataflow_runner import DataflowRuntimeException

    cloud = options.view_as(GoogleCloudOptions)
    job = result.job_id()
    print(f"Created job with id: [{job}]", flush=True)  # Airflow looks for this line
    where = (
        f"https://console.cloud.google.com/dataflow/jobs/{cloud.region}/{job}"
        f"?project={cloud.project}"
    )
    print(f"{where}", flush=True)
    try:
        state = result.wait_until_finish()
    except DataflowRuntimeException as error:
        said = str(error).partition("Error:\n")[2].strip()
        if re.search(r"\b(UserError|RunError): ", said):  # a worker's own line says it best
            print(where, file=sys.stderr)
            raise
        last = said.splitlines()[-1] if said and said != "None" else "it gave no reason"
        raise RunError(f"the Dataflow job {job} {_ended(result)}: {last}; see {where}") from None
    if state != "DONE":
        raise RunError(f"the Dataflow job {job} {state.lower()}; see {where}")


def _ended(result: Any) -> str:
    return "was cancelled" if result.state == "CANCELLED" else "failed"
