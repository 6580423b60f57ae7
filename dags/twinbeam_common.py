"""What both DAGs of twinbeam share: settings, the step that runs a command of ours, small files.

No DAG is in here, and `.airflowignore` keeps Airflow from looking for one. It lies beside the DAG
files, in the folder that Airflow has on its path. It imports Airflow and the standard library.
"""

from __future__ import annotations

import json
import os
from contextlib import chdir
from datetime import timedelta
from urllib.request import Request, urlopen

from airflow.sdk import Asset, BaseOperator, ObjectStoragePath, Param, Variable
from airflow.sdk.exceptions import AirflowSkipException, TaskDeferred

BUNDLE = Asset("twinbeam_bundle")  # twinbeam_train promotes it, twinbeam_daily waits for it
WHERE = ("as the settings say", "local", "cloud")
GOOGLE = "google_cloud_default"
# python -m MODULE, with errors and progress in the output: Beam's hook reads the one to its end
# before the other, and a command that runs for hours would fill the other and stand still.
ONE_OUTPUT = (
    "import os, runpy, sys; os.dup2(1, 2); del sys.argv[0]; "
    "runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
)


def settings(chosen: str = WHERE[0]) -> dict:
    """The variable `twinbeam`, with what a run chose on top."""
    found = Variable.get("twinbeam", default=None, deserialize_json=True)
    missing = {"python", "folder", "data"} - set(found or {})
    if missing:
        raise ValueError(
            f"the Airflow variable 'twinbeam' does not say {', '.join(sorted(missing))}; "
            "docs/airflow.md shows one to copy"
        )
    found["data"] = found["data"].rstrip("/")
    found["where"] = found.get("where", "local") if chosen == WHERE[0] else chosen
    if found["where"] == "cloud" and not found.get("cloud"):
        raise ValueError("to run in the cloud the Airflow variable 'twinbeam' needs a part 'cloud'")
    return found


def step(
    settings: dict, command: str, options: dict, *, name: str = "", alone: bool = False
) -> dict:
    """A command of ours, ready to run: `python -m pipelines.COMMAND --OPTIONS`.

    In the cloud it becomes the Dataflow job `name`, unless it is to run `alone`, on this worker.
    """
    request = {key: settings[key] for key in ("python", "folder")} | {"command": command}
    if alone or settings["where"] == "local":
        return request | {"runner": "FnApiRunner", "options": options, "job": None}
    cloud = settings["cloud"]
    flags = {"temp_location": f"{settings['data']}/tmp", **cloud.get("dataflow", {})}
    job = {"job_name": name, "project_id": cloud["project"], "location": cloud["region"]}
    return request | {"runner": "DataflowRunner", "options": {**flags, **options}, "job": job}


def judging(settings: dict, folder: str, label_column: str) -> dict:
    """`pipelines.evaluate` on the scores in a folder, on this worker: it needs little."""
    options = {"input": f"{folder}/scores", "output": f"{folder}/report"}
    options |= {"label_column": label_column, "overwrite": True}
    return step(settings, "evaluate", options, alone=True)


class BeamStep(BaseOperator):
    """A command of ours, run by Beam's own operator: here, or as a Dataflow job it waits for.

    Which of them is known when it runs, not when this file is read; and to import that operator
    takes longer than a DAG file may. A retry submits a job of the same name, and what submits it
    adopts the job that already runs.
    """

    template_fields = ("step",)

    def __init__(self, *, step: dict, **kwargs):
        """Takes what the function `step` made."""
        super().__init__(**kwargs)
        self.step = step
        self.beam = None

    def execute(self, context):
        """Runs it; on Dataflow gives its place up once the job is submitted."""
        if not self.step:
            raise AirflowSkipException("there is nothing to do for this one")
        from airflow.providers.apache.beam.operators.beam import BeamRunPythonPipelineOperator

        job = self.step["job"]
        self.beam = BeamRunPythonPipelineOperator(
            task_id=self.task_id,
            py_interpreter=self.step["python"],
            py_options=["-c", ONE_OUTPUT],
            py_file=f"pipelines.{self.step['command']}",
            runner=self.step["runner"],
            pipeline_options=self.step["options"],
            dataflow_config={**job, "append_job_name": False} if job else None,
            deferrable=bool(job),
            gcp_conn_id=GOOGLE,
        )
        try:
            with chdir(self.step["folder"]):
                self.beam.execute(context)
        except TaskDeferred:
            if self.beam.dataflow_job_id:
                raise
            self.log.info("it was done before: no job was needed")

    def execute_complete(self, context, event):
        """Goes on when the Dataflow job has ended."""
        if event["status"] != "success":
            raise RuntimeError(event["message"])
        self.log.info(event["message"])

    def on_kill(self):
        """Cancels the job if it is known already; `stop_jobs` does so at any later time."""
        if self.beam:
            self.beam.on_kill()


def stop_jobs(jobs: list[dict]) -> None:
    """Cancels jobs that still run: of tasks that were killed, timed out or gave up waiting.

    A DAG makes its own teardown of it: one that Airflow made serves a single DAG.
    """
    if not jobs:
        return
    from airflow.providers.google.cloud.hooks.dataflow import DataflowHook

    service = DataflowHook(gcp_conn_id=GOOGLE).get_conn().projects().locations().jobs()
    for job in jobs:
        place = {"projectId": job["project_id"], "location": job["location"]}
        for found in active_jobs(service, place, job["job_name"]):
            print(f"cancelling {found['name']}, job {found['id']}")
            wanted = {"requestedState": "JOB_STATE_CANCELLED"}
            service.update(**place, jobId=found["id"], body=wanted).execute()


def active_jobs(service, place: dict, name: str) -> list[dict]:
    """The jobs of a name that run, over all pages of the list: a region may have many."""
    found, request = [], service.list(**place, filter="ACTIVE")
    while request is not None:
        page = request.execute()
        found += [job for job in page.get("jobs", []) if job["name"] == name]
        request = service.list_next(request, page)
    return found


def place(path: str) -> ObjectStoragePath:
    """A path, local or `gs://`."""
    return ObjectStoragePath(path, conn_id=GOOGLE if path.startswith("gs://") else None)


def is_there(path: str) -> bool:
    """Whether a file or object is there, or any that fits where the path is a pattern."""
    file = place(path)
    return file.exists() or bool(file.fs.glob(file.path))


def read_json(path: str) -> dict | None:
    """What a small file says; None if it is not there."""
    file = place(path)
    return json.loads(file.read_text()) if file.exists() else None


def replace_json(path: str, content: dict) -> None:
    """Writes a small file in one step: who reads it sees the old or the new, never a part."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    if "://" in path:
        place(path).write_text(text)  # an object appears when its upload is complete
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    beside = f"{path}.{os.getpid()}"
    with open(beside, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(beside, path)


def tell_failure(context) -> None:
    """Logs what failed in one line, and posts it to `alert_url` where the settings have one."""
    instance = context["task_instance"]
    text = (
        f"twinbeam: {instance.dag_id}.{instance.task_id} failed in {instance.run_id} "
        f"after {instance.try_number} tries: {context.get('exception')}"
    )
    print(text)
    url = (Variable.get("twinbeam", default={}, deserialize_json=True) or {}).get("alert_url")
    if url:
        body = json.dumps({"text": text}).encode()
        with urlopen(Request(url, body, {"Content-Type": "application/json"}), timeout=10):
            pass


DEFAULTS = {
    "owner": "twinbeam",
    "retries": 2,
    "retry_delay": timedelta(minutes=1),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=20),
    "execution_timeout": timedelta(hours=1),
    "on_failure_callback": tell_failure,
}
LABEL_COLUMN = Param(
    "label",
    type="string",
    minLength=1,
    title="Label column",
    description="The column with the true label, where the pairs have one.",
)
RUN_WHERE = Param(
    WHERE[0],
    type="string",
    enum=list(WHERE),
    title="Where",
    description="On this Airflow's workers, or on Dataflow and Vertex AI.",
    section="Where",
)
