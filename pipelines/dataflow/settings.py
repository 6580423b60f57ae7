"""Dataflow: what a job of ours runs on, and what it needs before it is submitted.

It does nothing on other runners, so a command line need not ask where it runs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from apache_beam.options.pipeline_options import (
    DebugOptions,
    GoogleCloudOptions,
    PipelineOptions,
    SetupOptions,
    StandardOptions,
    WorkerOptions,
)

from transforms.errors import UserError
from transforms.storage import gcs

RUNNER = "DataflowRunner"
ONE_PROCESS = "no_use_multiple_sdk_containers"
# Two shards at a time: while one is encoded, on all cores, the other is read or written.
THREADS = 2
SETUP_FILE = Path(__file__).resolve().parents[2] / "setup.py"
_NOT_IN_LABELS = re.compile(r"[^a-z0-9_-]")


def is_used(options: PipelineOptions) -> bool:
    """Whether the options ask for Dataflow."""
    return options.view_as(StandardOptions).runner == RUNNER


def only_staged(options: PipelineOptions) -> bool:
    """Whether a template is wanted: the job is staged and does not run now."""
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
    gcs.find_credentials()
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
        if not gcs.is_object(path):
            raise UserError(
                f"{path} is not in a bucket, so Dataflow's workers cannot reach it; "
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

    Dataflow's default is a process for each core, each with its own model.
    """
    debug = options.view_as(DebugOptions)
    if not any("use_multiple_sdk_containers" in given for given in debug.experiments or []):
        debug.add_experiment(ONE_PROCESS)
    debug.number_of_worker_harness_threads = debug.number_of_worker_harness_threads or THREADS


def _label(options: PipelineOptions, step: str) -> None:
    cloud = options.view_as(GoogleCloudOptions)
    labels = {"app": "twinbeam", "step": step, "version": _version()}
    given = {label.partition("=")[0] for label in cloud.labels or []}
    ours = [f"{key}={value}" for key, value in labels.items() if key not in given]
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
    """Beam's own checks, which it would report in many lines, and later.

    The folders first: where they are wrong Beam would create a bucket and continue.
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
