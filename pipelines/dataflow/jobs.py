"""Jobs on Dataflow: their names, whether one runs already, and how it ends."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions

from pipelines.dataflow.settings import is_used, only_staged
from transforms.errors import RunError, UserError

# What a job is known by: its name may be anybody's (Airflow always gives one).
OUTPUT_LABEL, RUN_LABEL = "twinbeam-output", "twinbeam-run"


def name_job(options: PipelineOptions, *, step: str, output: str, identity: Any) -> str:
    """Names the job after what it does: the same command gives the same name, anywhere, any day.

    A name that was given with --job_name is kept.

    Returns:
        The name: letters, digits and hyphens, at most 63.
    """
    cloud = options.view_as(GoogleCloudOptions)
    if not cloud.job_name:
        cloud.job_name = f"twinbeam-{step}-{_short(output)}-{_short(identity)}"
    return cloud.job_name


def _short(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:10]


def adopt(options: PipelineOptions, *, step: str, output: str, identity: Any) -> bool:
    """Names the job, and waits for it where it runs already.

    Args:
        options: the run's Beam options; they get the job's name.
        step: which of our commands it is.
        output: the folder that is written.
        identity: all that decides what is written there.

    Returns:
        Whether there was such a job; it is done then.

    Raises:
        UserError: another job is writing to the same folder.
        RunError: the job that was found failed.
    """
    if not is_used(options) or only_staged(options):
        return False
    name = name_job(options, step=step, output=output, identity=identity)
    labels = {OUTPUT_LABEL: _short(output), RUN_LABEL: _short([step, output, identity])}
    _set_labels(options, labels)
    for job in _active_jobs(options):
        if job.labels.get(RUN_LABEL) == labels[RUN_LABEL]:
            print(f"The job {job.name} runs already; waiting for it instead of starting another")
            follow(_result(options, job), options)
            return True
        if job.labels.get(OUTPUT_LABEL) == labels[OUTPUT_LABEL]:
            raise UserError(
                f"{output} is being written by the job {job.name} ({job.id}), with other inputs "
                "or options; wait for it, cancel it, or choose another folder"
            )
        if job.name == name:
            raise UserError(
                f"a job {name} ({job.id}) runs already, and it writes to another folder or has "
                "other inputs or options; give another --job_name"
            )
    return False


def _set_labels(options: PipelineOptions, labels: dict[str, str]) -> None:
    cloud = options.view_as(GoogleCloudOptions)
    others = [one for one in cloud.labels or [] if one.partition("=")[0] not in labels]
    cloud.labels = [*others, *(f"{key}={value}" for key, value in labels.items())]


def _run_label(options: PipelineOptions) -> str | None:
    given = (one.partition("=") for one in options.view_as(GoogleCloudOptions).labels or [])
    return next((value for key, _, value in given if key == RUN_LABEL), None)


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
            f"Dataflow does not respond for project {cloud.project} in {cloud.region}: "
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
    except DataflowJobAlreadyExistsError:  # it was submitted elsewhere a moment ago
        name = options.view_as(GoogleCloudOptions).job_name
        job = next((job for job in _active_jobs(options) if job.name == name), None)
        if job is None or job.labels.get(RUN_LABEL) != _run_label(options):
            raise RunError(
                f"a job {name} was started elsewhere, and has ended or does something else; run "
                "again, or give another --job_name"
            ) from None
        print(f"The job {name} was submitted elsewhere just now; waiting for it")
        result = _result(options, job)
    if not getattr(result, "has_job", False):
        place = options.view_as(GoogleCloudOptions).template_location
        print(f"Staged, nothing runs yet; template: {place}" if place else "Dry run: nothing runs")
        return
    follow(result, options)


def follow(result: Any, options: PipelineOptions) -> None:
    """Prints the job's id at once, and waits for its end.

    Raises:
        RunError: it failed or was cancelled.
    """
    from apache_beam.runners.dataflow.dataflow_runner import DataflowRuntimeException

    cloud = options.view_as(GoogleCloudOptions)
    job = result.job_id()
    print(f"Created job with id: [{job}]", flush=True)  # Airflow looks for this line
    console_url = (
        f"https://console.cloud.google.com/dataflow/jobs/{cloud.region}/{job}"
        f"?project={cloud.project}"
    )
    print(f"{console_url}", flush=True)
    try:
        state = result.wait_until_finish()
    except DataflowRuntimeException as error:
        message = str(error).partition("Error:\n")[2].strip()
        if re.search(r"\b(UserError|RunError): ", message):  # a worker's own line says it best
            print(console_url, file=sys.stderr)
            raise
        last = message.splitlines()[-1] if message and message != "None" else "it gave no reason"
        raise RunError(
            f"the Dataflow job {job} {_ended(result)}: {last}; see {console_url}"
        ) from None
    if state != "DONE":
        raise RunError(f"the Dataflow job {job} {state.lower()}; see {console_url}")


def _ended(result: Any) -> str:
    return "was cancelled" if result.state == "CANCELLED" else "failed"
