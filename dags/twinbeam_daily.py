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
import subprocess
from datetime import UTC, datetime, timedelta

from airflow.sdk import (
    Asset,
    AssetOrTimeSchedule,
    CronDataIntervalTimetable,
    Metadata,
    Param,
    dag,
    task,
    teardown,
)

from twinbeam_common import (
    BUNDLE,
    DEFAULTS,
    LABEL_COLUMN,
    QUIET,
    RUN_WHERE,
    bundle_param,
    choose_bundle,
    chosen_day,
    complete_manifest,
    day_param,
    flags_param,
    judging,
    link,
    publish_pointer,
    read_json,
    ready_param,
    rejects_param,
    settings,
    step,
)
from twinbeam_tasks import BeamStep, WaitForInput, check_outcome, show, stop_jobs

SCORES = Asset("twinbeam_scores")  # for DAGs that read the scores


@dag(
    dag_id="twinbeam_daily",
    dag_display_name="twinbeam: score the day",
    doc_md=__doc__,
    description="Every night at 02:30 UTC, for the day before, and when a bundle was promoted: "
    "waits for the day's pairs, scores and judges them, publishes a pointer.",
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
        "date": day_param("Which to score"),
        "model": bundle_param("to score with"),
        "overwrite": Param(
            False,
            type="boolean",
            title="Overwrite",
            description="Replace scores of this day and bundle that were made from other input.",
        ),
        "input": Param(
            "{data}/pairs/{date}/*.parquet",
            type="string",
            minLength=1,
            title="Pairs",
            description="Parquet files of sentence pairs, local or gs://. {data} is the folder in "
            "the settings, {date} the day.",
        ),
        "ready": ready_param("pairs"),
        "label_column": LABEL_COLUMN,
        "max_reject_fraction": rejects_param("scored"),
        "max_drift": Param(
            None,
            type=["null", "number"],
            minimum=0,
            title="Drift",
            description="With a greater drift from the training data the run fails. Empty: any.",
            section="How",
        ),
        "score_options": flags_param(
            "More flags",
            'Flags of pipelines.score and of Beam, such as {"encode_once": "global"}.',
        ),
        "where": RUN_WHERE,
    },
)
def twinbeam_daily():
    """Wait → score → evaluate, where there are labels → publish."""

    @task(multiple_outputs=True)
    def plan(params: dict | None = None, dag_run=None) -> dict:
        """Settles the day, the bundle and every path; all other tasks go by what it returns."""
        found = settings(params["where"])
        day = chosen_day(params["date"], dag_run)
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
        name = f"airflow-twinbeam-score-{day}-{bundle['fingerprint'][:12]}"
        scoring = step(found, "score", options, name=name)
        ready = params["ready"]
        scores = {"Scores": link(found, f"{folder}/scores/")}
        report = {"Report": link(found, f"{folder}/report/report.html")}
        return {
            "date": day,
            "links": {
                "wait_for_input": {"Pairs": link(found, f"{pattern.rpartition('/')[0]}/")},
                "score": scores,
                "evaluate": report,
                "publish": scores | report,
            },
            "wait_for": f"{pattern.rpartition('/')[0]}/{ready}" if ready else pattern,
            "score": scoring,
            "jobs": [scoring["job"]] if scoring["job"] else [],
            "evaluate": judging(found, folder, params["label_column"]),
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

    @task.short_circuit(ignore_downstream_trigger_rules=False)
    def has_labels(evaluation: dict) -> bool:
        """Whether the scores have the label column; if not, nothing is judged."""
        options = evaluation["options"]
        shown = subprocess.run(
            [
                evaluation["python"],
                "-m",
                "pipelines.inspect",
                options["input"],
                "--json",
                "--no_sums",
            ],
            cwd=evaluation["folder"],
            capture_output=True,
            text=True,
            check=True,
        )
        return options["label_column"] in json.loads(shown.stdout).get("schema", {})

    # One at a time over all runs: it reads the pointer of the last day before it replaces it.
    @task(trigger_rule="none_failed", outlets=[SCORES], max_active_tis_per_dag=1)
    def publish(night: dict, dag_run=None):
        """Points the day, and the last day, at these scores."""
        manifest = complete_manifest(night["scores"])
        judged = read_json(f"{night['report']}/metrics.json")
        pointer = {
            **{key: night[key] for key in ("date", "scores", "bundle", "fingerprint")},
            "report": night["report"] if judged else None,
            "metrics": judged["metrics"] if judged else None,
            **{key: manifest[key] for key in ("rows_in", "rows_scored", "rows_rejected")},
            "run_id": dag_run.run_id,
            "published": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        publish_pointer(pointer, night["pointer"], night["latest"])
        print(f"{night['pointer']} → {night['scores']}: {manifest['rows_scored']:,} rows")
        yield Metadata(SCORES, {"date": night["date"], "rows": manifest["rows_scored"]})

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
        shows=("Scores",),
    )
    labelled = has_labels(planned["evaluate"])
    evaluate = BeamStep(
        task_id="evaluate",
        step=planned["evaluate"],
        doc_md="`pipelines.evaluate`: measures and a report.",
        shows=("Report",),
    )
    published = show(publish(planned["publish"]), "Scores", "Report")
    stopped = teardown(stop_jobs)(planned["jobs"])
    wait >> score >> labelled >> evaluate >> published
    score >> [published, stopped]
    checked = teardown(check_outcome, on_failure_fail_dagrun=True).override(**QUIET)("publish")
    [published, stopped] >> checked


twinbeam_daily()
