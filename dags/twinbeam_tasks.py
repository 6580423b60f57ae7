"""The tasks that the DAGs of twinbeam share: our commands, waiting, teardowns, links.

No DAG is in here, and `.airflowignore` keeps Airflow from looking for one.
"""

from __future__ import annotations

import inspect
from contextlib import chdir

from airflow.sdk import BaseOperator, BaseOperatorLink
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, TaskDeferred

from twinbeam_common import GOOGLE, is_there

# python -m MODULE, with errors and progress in the output: Beam's hook reads the one to its end
# before the other, and a command that runs for hours would fill the other and block.
ONE_OUTPUT = (
    "import os, runpy, sys; os.dup2(1, 2); del sys.argv[0]; "
    "runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
)


class BeamStep(BaseOperator):
    """A command of ours, run by Airflow's Beam provider: here, or as a Dataflow job it waits for.

    Which of them is known when it runs, not when this file is read; and to import that operator
    takes longer than a DAG file may. A retry submits a job of the same name, and what submits it
    adopts the job that already runs.
    """

    template_fields = ("step",)

    def __init__(self, *, step: dict, shows: tuple[str, ...] = (), **kwargs):
        """Takes what the function `step` made, and the names of the links it has."""
        super().__init__(**kwargs)
        self.step = step
        self.beam = None
        self.operator_extra_links = tuple(map(ResultLink, shows))

    def execute(self, context):
        """Runs it; on Dataflow gives its place up once the job is submitted."""
        if not self.step:
            raise AirflowSkipException("there is nothing to do for this one")
        with chdir(self.step["folder"]):
            if self.step["job"]:
                self.execute_on_dataflow(context)
            else:
                self.execute_here()

    def execute_here(self):
        """Runs the command, and reads what it prints; where Airflow ends this task it ends it too.

        The operator warns of every run without Dataflow; its hook, which does the work, does not.
        """
        from airflow.providers.apache.beam.hooks.beam import BeamHook

        BeamHook(runner=self.step["runner"]).start_python_pipeline(
            variables=dict(self.step["options"]),
            py_interpreter=self.step["python"],
            py_options=["-c", ONE_OUTPUT],
            py_file=f"pipelines.{self.step['command']}",
        )

    def execute_on_dataflow(self, context):
        """Submits the job, and waits in a trigger unless there is nothing to wait for."""
        from airflow.providers.apache.beam.operators.beam import BeamRunPythonPipelineOperator

        self.beam = BeamRunPythonPipelineOperator(
            task_id=self.task_id,
            py_interpreter=self.step["python"],
            py_options=["-c", ONE_OUTPUT],
            py_file=f"pipelines.{self.step['command']}",
            runner=self.step["runner"],
            pipeline_options=self.step["options"],
            dataflow_config={**self.step["job"], "append_job_name": False},
            deferrable=True,
            gcp_conn_id=GOOGLE,
        )
        try:
            execute_within(self.beam, context)
        except TaskDeferred:
            if self.beam.dataflow_job_id:
                raise
            self.log.info("it was done before: no job was needed")

    def execute_complete(self, context, event):
        """Resumes when the Dataflow job has ended."""
        if event["status"] != "success":
            raise RuntimeError(event["message"])
        self.log.info(event["message"])

    def on_kill(self):
        """Cancels the job if it is known already; `stop_jobs` does so at any later time."""
        if self.beam:
            self.beam.on_kill()


def execute_within(operator: BaseOperator, context) -> None:
    """Executes another operator as a part of this task.

    Airflow takes an operator in another for a mistake and warns in each log; here it is meant: only
    now is it known which operator it is. What it wraps `execute` in does nothing else.
    """
    inspect.unwrap(type(operator).execute)(operator, context)


class ResultLink(BaseOperatorLink):
    """A button beside a task's log that leads to one of its results, such as a report.

    Where they lie `plan` says in its `links`: by task, by the name on the button.
    """

    def __init__(self, name: str):
        """Takes the name on the button."""
        self._name = name

    @property
    def name(self) -> str:
        """The name on the button."""
        return self._name

    @property
    def xcom_key(self) -> str:
        """Where Airflow keeps the link."""
        return f"_link_{self._name.lower()}"

    def get_link(self, operator: BaseOperator, *, ti_key) -> str:
        """The address; empty where there is no result, and then there is no button."""
        from airflow.sdk.execution_time.xcom import XCom

        run = {"dag_id": ti_key.dag_id, "run_id": ti_key.run_id}
        links = XCom.get_one(key="links", task_id="plan", **run)
        return ((links or {}).get(operator.task_id) or {}).get(self._name, "")


def show(task, *names: str):
    """Gives a task that is a function its links."""
    task.operator.operator_extra_links = tuple(map(ResultLink, names))
    return task


def check_outcome(last: str, dag_run=None, ti=None) -> None:
    """Fails the run unless its last task was done; a DAG makes its own teardown of it.

    To mark a run as failed skips what has not begun, all but the teardowns; after these Airflow
    would call a run that ends in skipped tasks a success.
    """
    found = ti.get_task_states(dag_id=dag_run.dag_id, run_ids=[dag_run.run_id], task_ids=[last])
    state = found.get(dag_run.run_id, {}).get(last)
    if state != "success":
        raise AirflowFailException(f"the run failed: its last task, {last}, is {state}")


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


class WaitForInput(BaseOperator):
    """Waits for a file or object without holding a worker."""

    template_fields = ("path",)

    def __init__(self, *, path: str, **kwargs):
        """Takes the path, which may be a pattern; local or `gs://`."""
        super().__init__(**kwargs)
        self.path = path
        self.operator_extra_links = (ResultLink("Pairs"),)

    def execute(self, context):
        """Hands its slot to a trigger of Airflow's own; a manual run does not wait.

        It would hold up the night's run, and whoever started it can correct the day.
        """
        if context["dag_run"].run_type == "manual":
            if not is_there(self.path):
                raise AirflowFailException(
                    f"{self.path} does not exist; a manual run does not wait: give another day in "
                    "the parameter 'date', or another file in 'ready'"
                )
            self.log.info("%s is there", self.path)
            return
        self.log.info("waiting for %s", self.path)
        if self.path.startswith("gs://"):
            from airflow.providers.google.cloud.triggers.gcs import GCSBlobTrigger

            bucket, _, name = self.path.removeprefix("gs://").partition("/")
            trigger = GCSBlobTrigger(
                bucket=bucket,
                object_name=name,
                use_glob="*" in name,
                poke_interval=60,
                google_cloud_conn_id=GOOGLE,
                hook_params={},
            )
        else:
            from airflow.providers.standard.triggers.file import FileTrigger

            trigger = FileTrigger(filepath=self.path, poke_interval=5)
        self.defer(trigger=trigger, method_name="arrived", timeout=self.execution_timeout)

    def arrived(self, context, event=None):
        """Continues when it exists."""
        if isinstance(event, dict) and event.get("status") != "success":
            raise RuntimeError(event["message"])
        self.log.info("%s is there", self.path)
