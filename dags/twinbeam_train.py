"""### Trains a new bundle, and promotes it if it is better.

Preprocesses the labelled pairs, trains, and lets the new bundle and the current one score and be
judged on the same pairs, which neither was trained on. The gate promotes the new one only if it is
better; otherwise the run stops there and says why. Promoting replaces one small JSON file in one
step, `DATA/models/current.json`, and starts `twinbeam_daily`, which scores with it.

| where | what |
| --- | --- |
| `DATA/labelled/*.parquet` | labelled pairs to learn from |
| `DATA/holdout/*.parquet` | labelled pairs to judge by |
| `DATA/bundles/RUN/` | the bundle of each run; none is ever replaced |
| `DATA/training/RUN/` | its examples, scores, reports, and `gate.json`: what was decided |
| `DATA/models/current.json` | the pointer to the bundle in use; it also names the one before |

Everything about the place comes from the Airflow variable `twinbeam` (see `docs/airflow.md`), what
differs from run to run from the parameters. The task `plan` shows what both came to.
"""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta

from airflow.sdk import (
    BaseOperator,
    CronDataIntervalTimetable,
    Metadata,
    Param,
    dag,
    task,
    teardown,
)
from airflow.sdk.exceptions import AirflowFailException

from twinbeam_common import (
    BUNDLE,
    DEFAULTS,
    GOOGLE,
    LABEL_COLUMN,
    QUIET,
    RUN_WHERE,
    flags_param,
    judging,
    link,
    place,
    read_json,
    replace_json,
    settings,
    step,
)
from twinbeam_tasks import (
    BeamStep,
    ResultLink,
    check_outcome,
    execute_within,
    show,
    stop_jobs,
)

GPU_POOL = "twinbeam_gpu"
# Of two bundles the one with more of it is better; of the others, the one with less.
MORE_IS_BETTER = ("accuracy", "f1", "roc_auc", "pr_auc", "pearson", "spearman", "macro_f1")
LESS_IS_BETTER = ("log_loss", "brier", "mean_squared_error")


class TrainStep(BaseOperator):
    """`pipelines.train`: here, or as a custom job on Vertex AI it waits for."""

    template_fields = ("step",)

    def __init__(self, *, step: dict, **kwargs):
        """Takes what `plan` made."""
        super().__init__(**kwargs)
        self.step = step
        self.running = None
        self.operator_extra_links = (ResultLink("Bundle"),)

    def execute(self, context):
        """Trains, unless an earlier try has finished the bundle."""
        if place(f"{self.step['output']}/manifest.json").exists():
            self.log.info("%s is there already", self.step["output"])
        elif self.step["job"]:
            self.execute_on_vertex(context)
        else:
            self.execute_here()

    def execute_here(self):
        """Runs the command; where Airflow ends this task it ends the command too."""
        self.running = subprocess.Popen(
            [self.step["python"], *self.step["command"]],
            cwd=self.step["folder"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for line in self.running.stdout:
            self.log.info(line.rstrip())
        if code := self.running.wait():
            raise RuntimeError(f"training ended with exit code {code}; its last lines say why")

    def execute_on_vertex(self, context):
        """Creates the job, or adopts the one that an earlier try left, and waits in a trigger."""
        # Here and not above: these take longer to import than a DAG file may to be read.
        from airflow.providers.google.cloud.hooks.vertex_ai.custom_job import CustomJobHook
        from airflow.providers.google.cloud.operators.vertex_ai.custom_job import (
            CreateCustomJobOperator,
        )
        from airflow.providers.google.cloud.triggers.vertex_ai import CustomJobTrigger

        job = self.step["job"]
        if found := running_jobs(CustomJobHook(gcp_conn_id=GOOGLE), job):
            self.log.info("the job %s runs already", found[0])
            trigger = CustomJobTrigger(
                project_id=job["project_id"],
                location=job["region"],
                custom_job_id=found[0],
                gcp_conn_id=GOOGLE,
            )
            self.defer(trigger=trigger, method_name="execute_complete")
        self.running = CreateCustomJobOperator(
            task_id=self.task_id, gcp_conn_id=GOOGLE, deferrable=True, **job
        )
        execute_within(self.running, context)

    def execute_complete(self, context, event):
        """Goes on when the job on Vertex AI has ended."""
        if event["status"] != "success":
            raise RuntimeError(event["message"])

    def on_kill(self):
        """Ends the training; its checkpoints stay for the next try."""
        if isinstance(self.running, subprocess.Popen):
            self.running.terminate()
        elif self.running:
            self.running.on_kill()


def running_jobs(hook, job: dict) -> list[str]:
    """Ids of the jobs of that name that have not ended."""
    found = hook.list_custom_jobs(
        project_id=job["project_id"],
        region=job["region"],
        page_size=None,
        page_token=None,
        filter=f'display_name="{job["custom_job"]["display_name"]}"',
        read_mask=None,
    )
    ended = ("SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED", "PARTIALLY_SUCCEEDED")
    active = [each for each in found if each.state.name.removeprefix("JOB_STATE_") not in ended]
    return [hook.extract_custom_job_id(each.name) for each in active]


@teardown
def stop_training(step: dict) -> None:
    """Cancels the job on Vertex AI if it still runs: as `stop_jobs` does on Dataflow."""
    if not (job := step["job"]):
        return
    from airflow.providers.google.cloud.hooks.vertex_ai.custom_job import CustomJobHook

    hook = CustomJobHook(gcp_conn_id=GOOGLE)
    for found in running_jobs(hook, job):
        print(f"cancelling the job {found}")
        hook.cancel_custom_job(project_id=job["project_id"], region=job["region"], custom_job=found)


def train_step(settings: dict, options: dict, *, name: str) -> dict:
    """Training, ready to run: a command here, or a custom job on Vertex AI."""
    flags = [f"--{key}={value}" for key, value in options.items() if value is not None]
    command = ["-m", "pipelines.train", *flags]
    request = {key: settings[key] for key in ("python", "folder")}
    request |= {"command": command, "output": options["output"], "job": None}
    if settings["where"] == "local":
        return request
    cloud, machine = settings["cloud"], settings["cloud"]["train"]
    accelerator = {key: machine[key] for key in machine if key.startswith("accelerator_")}
    pool = {
        "machine_spec": {"machine_type": machine["machine_type"], **accelerator},
        "replica_count": 1,
        "container_spec": {
            "image_uri": machine["image"],
            "command": ["python"],
            "args": command,
        },
    }
    spec: dict = {"worker_pool_specs": [pool]}
    if account := cloud.get("dataflow", {}).get("service_account_email"):
        spec["service_account"] = account
    job = {"display_name": name, "job_spec": spec, "labels": {"made-by": "twinbeam"}}
    return request | {
        "job": {"project_id": cloud["project"], "region": cloud["region"], "custom_job": job}
    }


def decide(new: dict, current: dict | None, metric: str, min_gain: float) -> tuple[bool, str]:
    """Whether the new bundle is better than the current one, and the reason in one line.

    Args:
        new: `metrics.json` of the new bundle's scores.
        current: that of the current one's; None where there is none yet.
        metric: what is compared.
        min_gain: by how much it has to be better; at 0 an equal one is refused.
    """
    if metric not in new["metrics"]:
        return False, f"there is no {metric} for this task; there are {', '.join(new['metrics'])}"
    value = new["metrics"][metric]
    if value is None:  # as where all labels are the same
        return False, f"the new bundle has no value of {metric} on these pairs"
    if current is None:
        return True, f"{metric} {value:.4f}, and there is no bundle yet"
    if new["rows"] != current["rows"]:
        return False, f"{new['rows']} and {current['rows']} rows were judged: not the same pairs"
    before = current["metrics"].get(metric)
    if before is None:
        return False, f"the current bundle has no value of {metric} on these pairs"
    gain = value - before if metric in MORE_IS_BETTER else before - value
    better = gain > 0 and gain >= min_gain
    comparison = (
        f"{metric} {value:.4f} against {before:.4f} of the current bundle on {new['rows']} rows"
    )
    return better, f"{comparison}: {'better' if better else 'not better'} by at least {min_gain:g}"


@dag(
    dag_id="twinbeam_train",
    dag_display_name="twinbeam: train and promote",
    doc_md=__doc__,
    description="Every Sunday at 04:00 UTC: trains a bundle and promotes it where it beats the "
    "current one.",
    schedule=CronDataIntervalTimetable("0 4 * * 0", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,  # the gate compares with a current bundle that must stay the same
    dagrun_timeout=timedelta(hours=36),
    default_args=DEFAULTS,
    tags=["twinbeam"],
    params={
        "labelled": Param(
            "{data}/labelled/*.parquet",
            type="string",
            minLength=1,
            title="Labelled pairs",
            description="Parquet files to learn from. {data} is the folder in the settings.",
        ),
        "holdout": Param(
            "{data}/holdout/*.parquet",
            type="string",
            minLength=1,
            title="Pairs to judge by",
            description="Labelled pairs on which the new and the current bundle are compared.",
        ),
        "label_column": LABEL_COLUMN,
        "recipe": Param(
            None,
            type=["null", "string"],
            title="Recipe",
            description="A recipe's name, or the path of its file. Empty: what the settings say.",
        ),
        "epochs": Param(
            None,
            type=["null", "integer"],
            minimum=1,
            title="Epochs",
            description="Epochs. Empty: the recipe's.",
            section="How",
        ),
        "seed": Param(
            None,
            type=["null", "integer"],
            title="Seed",
            description="Of weights, order and dropout. Empty: what the recipe says.",
            section="How",
        ),
        "metric": Param(
            "accuracy",
            type="string",
            enum=[*MORE_IS_BETTER, *LESS_IS_BETTER],
            title="Measure",
            description="What the gate compares.",
            section="Gate",
        ),
        "min_gain": Param(
            0.0,
            type="number",
            minimum=0,
            title="Least gain",
            description="By how much the new bundle has to be better. An equal one is refused.",
            section="Gate",
        ),
        "preprocess_options": flags_param(
            "More flags", "Flags of pipelines.preprocess and of Beam."
        ),
        "where": RUN_WHERE,
    },
)
def twinbeam_train():
    """Preprocess → train → score and judge the new and the current bundle → gate → promote."""

    @task(multiple_outputs=True)
    def plan(params: dict | None = None, dag_run=None) -> dict:
        """Settles every path and step; all other tasks go by what it returns."""
        found = settings(params["where"])
        data = found["data"]
        run = f"{dag_run.logical_date or dag_run.run_after:%Y%m%dT%H%M%S}"
        folder, bundle = f"{data}/training/{run}", f"{data}/bundles/{run}"
        current = read_json(f"{data}/models/current.json")
        preprocessing = {
            "input": params["labelled"].format(data=data),
            "label_column": params["label_column"],
            "recipe": params["recipe"] or found.get("recipe", "char-bilstm-manhattan"),
            "output": f"{folder}/examples",
            "overwrite": True,
            **params["preprocess_options"],
        }
        training = {
            "examples": f"{folder}/examples",
            "output": bundle,
            "checkpoints": f"{folder}/checkpoints",
            "epochs": params["epochs"],
            "seed": params["seed"],
        }
        name = f"airflow-twinbeam-preprocess-{run.lower()}"
        first = step(found, "preprocess", preprocessing, name=name)
        scoring, report = {"current": {}}, {"current": {}}  # empty where there is none yet
        for name, path in (("new", bundle), *([("current", current["bundle"])] if current else [])):
            scores = {
                "input": params["holdout"].format(data=data),
                "model": path,
                "output": f"{folder}/{name}/scores",
                "overwrite": True,
            }
            job = f"airflow-twinbeam-holdout-{name}-{run.lower()}"
            scoring[name] = step(found, "score", scores, name=job)
            report[name] = judging(found, f"{folder}/{name}", params["label_column"])
        shown = {
            name: {
                "Scores": link(found, f"{folder}/{name}/scores/"),
                "Report": link(found, f"{folder}/{name}/report/report.html"),
            }
            for name in (("new", "current") if current else ("new",))
        }
        new = {"Bundle": link(found, f"{bundle}/")}
        return {
            "links": {
                "preprocess": {"Examples": link(found, f"{folder}/examples/")},
                "train": new,
                **{f"score_{name}": links for name, links in shown.items()},
                **{f"evaluate_{name}": links for name, links in shown.items()},
                "gate": {"Decision": link(found, f"{folder}/gate.json"), **shown["new"]},
                "promote": new | shown["new"],
            },
            "preprocess": first,
            "jobs": [each["job"] for each in (first, *scoring.values()) if each.get("job")],
            "train": train_step(found, training, name=f"airflow-twinbeam-train-{run.lower()}"),
            "score_new": scoring["new"],
            "score_current": scoring["current"],
            "evaluate_new": report["new"],
            "evaluate_current": report["current"],
            "gate": {
                "metric": params["metric"],
                "min_gain": params["min_gain"],
                "new": f"{folder}/new/report/metrics.json",
                "current": f"{folder}/current/report/metrics.json" if current else None,
                "decision": f"{folder}/gate.json",
                "bundle": bundle,
            },
            "promote": {
                "bundle": bundle,
                "before": current["bundle"] if current else None,
                "report": f"{folder}/new/report",
                "pointer": f"{data}/models/current.json",
            },
        }

    @task(trigger_rule="none_failed")
    def gate(options: dict) -> str:
        """Lets the new bundle pass where it is better; otherwise the run ends here."""
        new = read_json(options["new"])
        current = read_json(options["current"]) if options["current"] else None
        better, reason = decide(new, current, options["metric"], options["min_gain"])
        decision = {"promoted": better, "reason": reason, "bundle": options["bundle"]}
        replace_json(options["decision"], decision)
        print(reason)
        if not better:
            raise AirflowFailException(f"the new bundle is refused: {reason}")
        return reason

    @task(outlets=[BUNDLE])
    def promote(options: dict, reason: str, dag_run=None):
        """Points scoring at the new bundle."""
        manifest = read_json(f"{options['bundle']}/manifest.json")
        pointer = {
            "bundle": options["bundle"],
            "fingerprint": manifest["fingerprint"],
            "reason": reason,
            "report": options["report"],
            "before": options["before"],
            "run_id": dag_run.run_id,
            "promoted": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        replace_json(options["pointer"], pointer)
        print(f"{options['pointer']} → {options['bundle']}: {reason}")
        yield Metadata(
            BUNDLE, {"bundle": options["bundle"], "fingerprint": manifest["fingerprint"]}
        )

    planned = plan()
    preprocess = BeamStep(
        task_id="preprocess",
        step=planned["preprocess"],
        execution_timeout=timedelta(hours=6),
        doc_md="`pipelines.preprocess`: labelled pairs → examples.",
        shows=("Examples",),
    )
    train = TrainStep(
        task_id="train",
        step=planned["train"],
        pool=GPU_POOL,
        execution_timeout=timedelta(hours=24),
        doc_md="`pipelines.train`: examples → a bundle. One at a time for each GPU: see the pool.",
    )
    passed = show(gate(planned["gate"]), "Decision", "Report")
    stopped = teardown(stop_jobs)(planned["jobs"])
    for name in ("new", "current"):
        score = BeamStep(
            task_id=f"score_{name}",
            step=planned[f"score_{name}"],
            execution_timeout=timedelta(hours=3),
            doc_md=f"`pipelines.score`: the pairs to judge by, with the {name} bundle.",
            shows=("Scores",),
        )
        evaluate = BeamStep(
            task_id=f"evaluate_{name}",
            step=planned[f"evaluate_{name}"],
            doc_md=f"`pipelines.evaluate`: how good the {name} bundle is.",
            shows=("Report",),
        )
        train >> score >> evaluate >> passed
        score >> stopped
    preprocess >> [train, stopped]
    ended = stop_training(planned["train"])
    train >> ended
    promoted = show(promote(planned["promote"], passed), "Bundle", "Report")
    checked = teardown(check_outcome, on_failure_fail_dagrun=True).override(**QUIET)("promote")
    [promoted, stopped, ended] >> checked


twinbeam_train()
