"""### Scores yesterday's sentence pairs, every night.

Waits for the day's pairs, scores them with the bundle that training promoted, judges the scores
where the pairs have labels, and then publishes: one small JSON file that is replaced in one step
and says where the day's scores lie. A promoted bundle starts a run too.

| where | what |
| --- | --- |
| `DATA/pairs/DAY/*.parquet` and `_SUCCESS` | comes in |
| `DATA/scores/DAY/BUNDLE/` | the scores by one bundle, dated: doing a day again is harmless |
| `DATA/scores/DAY/current.json` | the pointer: which of them to read |
| `DATA/scores/latest.json` | the pointer to the last day; it never goes back |

Everything about the place comes from the Airflow variable `twinbeam` (see `docs/airflow.md`), what
differs from run to run from the parameters. The task `plan` shows what both came to.
"""

from __future__ import annotations

import json
import os
from contextlib import chdir
from datetime import UTC, datetime, timedelta
from urllib.request import Request, urlopen

from airflow.sdk import (
    Asset,
    AssetOrTimeSchedule,
    BaseOperator,
    CronDataIntervalTimetable,
    Metadata,
    ObjectStoragePath,
    Param,
    Variable,
    dag,
    task,
    teardown,
)
from airflow.sdk.exceptions import AirflowSkipException, TaskDeferred

BUNDLE = Asset("twinbeam_bundle")  # twinbeam_train promotes it
SCORES = Asset("twinbeam_scores")  # for DAGs that read the scores

# ---- The same in both files: a DAG file imports nothing but Airflow, so each can go alone. ----
WHERE = ("as the settings say", "local", "cloud")
GOOGLE = "google_cloud_default"
# python -m MODULE, with errors and progress in the output: Beam's hook reads the one to its end
# before the other, and a command that runs for hours would fill the other and stand still.
ONE_OUTPUT = (
    "import os, runpy, sys; os.dup2(1, 2); del sys.argv[0]; "
    "runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
)


def settings(where: str = WHERE[0]) -> dict:
    """The variable `twinbeam`, with what a run chose on top."""
    found = Variable.get("twinbeam", default=None, deserialize_json=True)
    missing = {"python", "folder", "data"} - set(found or {})
    if missing:
        raise ValueError(
            f"the Airflow variable 'twinbeam' does not say {', '.join(sorted(missing))}; "
            "docs/airflow.md shows one to copy"
        )
    found["data"] = found["data"].rstrip("/")
    found["where"] = found.get("where", "local") if where == WHERE[0] else where
    if found["where"] == "cloud" and not found.get("cloud"):
        raise ValueError("to run in the cloud the Airflow variable 'twinbeam' needs a part 'cloud'")
    return found


def step(
    settings: dict, command: str, options: dict, *, name: str = "", alone: bool = False
) -> dict:
    """A command of ours, ready to run: `python -m pipelines.COMMAND --OPTIONS`.

    In the cloud it becomes the Dataflow job `name`, unless it is to run `alone`, on this worker.
    """
    told = {key: settings[key] for key in ("python", "folder")} | {"command": command}
    if alone or settings["where"] == "local":
        return told | {"runner": "FnApiRunner", "options": options, "job": None}
    cloud = settings["cloud"]
    flags = {"temp_location": f"{settings['data']}/tmp", **cloud.get("dataflow", {})}
    job = {"job_name": name, "project_id": cloud["project"], "location": cloud["region"]}
    return told | {"runner": "DataflowRunner", "options": {**flags, **options}, "job": job}


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


@teardown
def stop_jobs(jobs: list[dict]) -> None:
    """Cancels jobs that still run: of tasks that were killed, timed out or gave up waiting."""
    if not jobs:
        return
    from airflow.providers.google.cloud.hooks.dataflow import DataflowHook

    service = DataflowHook(gcp_conn_id=GOOGLE).get_conn().projects().locations().jobs()
    for job in jobs:
        place = {"projectId": job["project_id"], "location": job["location"]}
        active = service.list(**place, filter="ACTIVE").execute().get("jobs", [])
        for found in (each for each in active if each["name"] == job["job_name"]):
            print(f"cancelling {found['name']}, job {found['id']}")
            wanted = {"requestedState": "JOB_STATE_CANCELLED"}
            service.update(**place, jobId=found["id"], body=wanted).execute()


def place(path: str) -> ObjectStoragePath:
    """A path, local or `gs://`."""
    return ObjectStoragePath(path, conn_id=GOOGLE if path.startswith("gs://") else None)


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
# ---- To here. ----


class WaitForInput(BaseOperator):
    """Waits for a file or object without holding a worker."""

    template_fields = ("path",)

    def __init__(self, *, path: str, **kwargs):
        """Takes the path, which may be a pattern; local or `gs://`."""
        super().__init__(**kwargs)
        self.path = path

    def execute(self, context):
        """Gives its place up to a trigger of Airflow's own."""
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
        """Goes on when it is there."""
        if isinstance(event, dict) and event.get("status") != "success":
            raise RuntimeError(event["message"])
        self.log.info("%s is there", self.path)


@dag(
    dag_id="twinbeam_daily",
    dag_display_name="twinbeam: score the day",
    doc_md=__doc__,
    description="Waits for the day's pairs, scores and judges them, publishes a pointer.",
    # A run at 02:30 scores the day before: its pairs are then complete.
    schedule=AssetOrTimeSchedule(
        timetable=CronDataIntervalTimetable("30 2 * * *", timezone="UTC"), assets=[BUNDLE]
    ),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,  # two runs of one day would write to one folder
    dagrun_timeout=timedelta(hours=20),
    default_args=DEFAULTS,
    tags=["twinbeam"],
    params={
        "date": Param(
            None,
            type=["null", "string"],
            format="date",
            title="Day",
            description="Which to score. Empty: the run's logical date, or yesterday without one.",
            section="What",
        ),
        "input": Param(
            "{data}/pairs/{date}/*.parquet",
            type="string",
            minLength=1,
            title="Pairs",
            description="Parquet files of sentence pairs, local or gs://. {data} is the folder in "
            "the settings, {date} the day.",
            section="What",
        ),
        "ready": Param(
            "_SUCCESS",
            type=["null", "string"],
            title="Ready file",
            description="The file beside the pairs that says they are complete. Empty: the first "
            "file that fits is enough.",
            section="What",
        ),
        "label_column": Param(
            "label",
            type="string",
            minLength=1,
            title="Label column",
            description="Where the pairs have this column, the scores are judged by it.",
            section="What",
        ),
        "model": Param(
            None,
            type=["null", "string"],
            title="Bundle",
            description="Folder of the bundle to score with. Empty: the one promoted last.",
            section="How",
        ),
        "max_reject_fraction": Param(
            0.05,
            type="number",
            minimum=0,
            maximum=1,
            title="Rejected rows",
            description="With a greater share of rows that cannot be scored the run fails.",
            section="How",
        ),
        "max_drift": Param(
            None,
            type=["null", "number"],
            minimum=0,
            title="Drift",
            description="With a greater drift from the training data the run fails. Empty: any.",
            section="How",
        ),
        "overwrite": Param(
            False,
            type="boolean",
            title="Overwrite",
            description="Replace scores of this day and bundle that were made from other input.",
            section="How",
        ),
        "score_options": Param(
            {},
            type="object",
            title="More flags",
            description='Flags of pipelines.score and of Beam, such as {"encode_once": "global"}.',
            section="How",
        ),
        "where": Param(
            WHERE[0],
            type="string",
            enum=list(WHERE),
            title="Where",
            description="On this Airflow's workers, or as a Dataflow job.",
            section="Where",
        ),
    },
)
def twinbeam_daily():
    """Wait → score → evaluate, where there are labels → publish."""

    @task(multiple_outputs=True)
    def plan(params: dict | None = None, dag_run=None) -> dict:
        """Settles the day, the bundle and every path; all other tasks go by what it returns."""
        found = settings(params["where"])
        moment = dag_run.logical_date or dag_run.run_after - timedelta(days=1)
        day = params["date"] or moment.date().isoformat()
        pattern = params["input"].format(data=found["data"], date=day)
        bundle = choose_bundle(params["model"], found["data"])
        folder = f"{found['data']}/scores/{day}/{bundle['fingerprint'][:12]}"
        options = {
            "input": pattern,
            "model": bundle["bundle"],
            "model_sha256": bundle["fingerprint"],
            "output": f"{folder}/scores",
            "max_reject_fraction": params["max_reject_fraction"],
            "max_drift": params["max_drift"],
            "overwrite": params["overwrite"],
            **params["score_options"],
        }
        judging = {
            "input": f"{folder}/scores",
            "output": f"{folder}/report",
            "label_column": params["label_column"],
            "overwrite": True,
        }
        name = f"airflow-twinbeam-score-{day}-{bundle['fingerprint'][:12]}"
        scoring = step(found, "score", options, name=name)
        ready = params["ready"]
        return {
            "date": day,
            "wait_for": f"{pattern.rpartition('/')[0]}/{ready}" if ready else pattern,
            "score": scoring,
            "jobs": [scoring["job"]] if scoring["job"] else [],
            "evaluate": step(found, "evaluate", judging, alone=True),
            "publish": {
                "date": day,
                "scores": f"{folder}/scores",
                "report": f"{folder}/report",
                "bundle": bundle["bundle"],
                "fingerprint": bundle["fingerprint"],
                "pointer": f"{found['data']}/scores/{day}/current.json",
                "latest": f"{found['data']}/scores/latest.json",
            },
        }

    def choose_bundle(asked: str | None, data: str) -> dict:
        """The bundle that was asked for, or the one that the pointer names."""
        if asked:
            manifest = read_json(f"{asked.rstrip('/')}/manifest.json")
            if manifest is None:
                raise ValueError(f"{asked} is no bundle: it has no manifest.json")
            return {"bundle": asked.rstrip("/"), "fingerprint": manifest["fingerprint"]}
        promoted = read_json(f"{data}/models/current.json")
        if promoted is None:
            raise ValueError(
                f"no bundle was promoted yet: {data}/models/current.json is not there; run "
                "twinbeam_train, or give the parameter 'model'"
            )
        return promoted

    @task.short_circuit(ignore_downstream_trigger_rules=False)
    def has_labels(done: dict, judging: dict) -> bool:
        """Whether the scores have the label column; if not, nothing is judged."""
        import subprocess

        command = [judging["python"], "-m", "pipelines.inspect", done["scores"], "--json"]
        shown = subprocess.run(
            [*command, "--no_sums"],
            cwd=judging["folder"],
            capture_output=True,
            text=True,
            check=True,
        )
        return judging["options"]["label_column"] in json.loads(shown.stdout).get("schema", {})

    # One at a time over all runs: it reads the pointer of the last day before it replaces it.
    @task(trigger_rule="none_failed", outlets=[SCORES], max_active_tis_per_dag=1)
    def publish(told: dict, dag_run=None):
        """Points the day, and the last day, at these scores."""
        manifest = read_json(f"{told['scores']}/manifest.json")
        if manifest is None or not place(f"{told['scores']}/_SUCCESS").exists():
            raise RuntimeError(f"{told['scores']} is not complete: it has no _SUCCESS")
        judged = read_json(f"{told['report']}/metrics.json")
        pointer = {
            **{key: told[key] for key in ("date", "scores", "bundle", "fingerprint")},
            "report": told["report"] if judged else None,
            "metrics": judged["metrics"] if judged else None,
            **{key: manifest[key] for key in ("rows_in", "rows_scored", "rows_rejected")},
            "run_id": dag_run.run_id,
            "published": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        replace_json(told["pointer"], pointer)
        latest = read_json(told["latest"])
        if latest is None or latest["date"] <= told["date"]:
            replace_json(told["latest"], pointer)
        print(f"{told['pointer']} → {told['scores']}: {manifest['rows_scored']:,} rows")
        yield Metadata(SCORES, {"date": told["date"], "rows": manifest["rows_scored"]})

    planned = plan()
    wait = WaitForInput(
        task_id="wait_for_input",
        path=planned["wait_for"],
        execution_timeout=timedelta(hours=12),
        doc_md="Waits until the day's pairs are complete.",
    )
    score = BeamStep(
        task_id="score",
        step=planned["score"],
        execution_timeout=timedelta(hours=6),
        doc_md="`pipelines.score`: the day's rows, a similarity and a label each.",
    )
    labelled = has_labels(planned["publish"], planned["evaluate"])
    evaluate = BeamStep(
        task_id="evaluate",
        step=planned["evaluate"],
        doc_md="`pipelines.evaluate`: measures and a report.",
    )
    published = publish(planned["publish"])
    wait >> score >> labelled >> evaluate >> published
    score >> [published, stop_jobs(planned["jobs"])]


twinbeam_daily()
