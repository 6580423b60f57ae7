"""### Matches yesterday's sentences with all earlier ones, every night.

Waits for the day's rows, finds the pairs of them that the promoted bundle calls similar, with each
other and with every earlier row, makes clusters of all rows, and publishes: one small JSON file
that is replaced in one step and says where the pairs and the clusters lie.

Only what is new is done: `find` encodes the sentences that the store of vectors does not have and
compares new rows with all; `cluster` keeps the ids of the night before. With another bundle
similarities are others, so that night finds the pairs of all rows anew; the clusters' ids stay.

| where | what |
| --- | --- |
| `DATA/sentences/DAY/*.parquet` and `_SUCCESS` | rows come in: an id, a sentence; no id twice |
| `DATA/vectors/` | the vector of each distinct sentence, by bundle |
| `DATA/matches/DAY/BUNDLE/pairs`, `clusters` | the pairs that are new, the clusters of all rows |
| `DATA/matches/DAY/current.json` | the pointer: what belongs to the day |
| `DATA/matches/latest.json` | the pointer to the last day; it never goes back |

Everything about the place comes from the Airflow variable `twinbeam` (see `docs/airflow.md`), what
differs from run to run from the parameters. The task `plan` shows what both came to.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import Asset, CronDataIntervalTimetable, Metadata, Param, dag, task, teardown

from twinbeam_common import (
    DEFAULTS,
    QUIET,
    RUN_WHERE,
    bundle_param,
    choose_bundle,
    chosen_day,
    complete_manifest,
    day_param,
    earlier_pointer,
    flags_param,
    link,
    publish_pointer,
    ready_param,
    rejects_param,
    settings,
    step,
)
from twinbeam_tasks import BeamStep, WaitForInput, check_outcome, show, stop_jobs

CLUSTERS = Asset("twinbeam_clusters")  # for DAGs that read the clusters


@dag(
    dag_id="twinbeam_match",
    dag_display_name="twinbeam: match the day",
    doc_md=__doc__,
    description="Every night at 03:30 UTC, for the day before: finds which new sentences repeat "
    "earlier ones, makes clusters of all, publishes a pointer.",
    schedule=CronDataIntervalTimetable("30 3 * * *", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,  # a night begins with what the one before has published
    dagrun_timeout=timedelta(hours=20),
    default_args=DEFAULTS,
    tags=["twinbeam"],
    params={
        "date": day_param("Whose rows are new"),
        "model": bundle_param("that compares"),
        "overwrite": Param(
            False,
            type="boolean",
            title="Overwrite",
            description="Replace what was made for this day and bundle from other input.",
        ),
        "input": Param(
            "{data}/sentences/{date}/*.parquet",
            type="string",
            minLength=1,
            title="Sentences",
            description="Parquet files of the day's rows, local or gs://. {data} is the folder in "
            "the settings, {date} the day.",
        ),
        "ready": ready_param("rows"),
        "sentence_column": Param(
            "sentence",
            type="string",
            minLength=1,
            title="Sentence column",
            description="The column with the sentence.",
        ),
        "id_column": Param(
            "id",
            type="string",
            minLength=1,
            title="Id column",
            description="The column that names a row, over all days.",
        ),
        "min_similarity": Param(
            None,
            type=["null", "number"],
            title="Least similarity",
            description="Of a pair. Empty: the bundle's threshold.",
            section="How",
        ),
        "max_reject_fraction": rejects_param("compared"),
        "find_options": flags_param(
            "More flags of find",
            'Flags of pipelines.find and of Beam, such as {"recall": 0.99}.',
        ),
        "cluster_options": flags_param(
            "More flags of cluster",
            'Flags of pipelines.cluster and of Beam, such as {"max_cluster": 50}.',
        ),
        "where": RUN_WHERE,
    },
)
def twinbeam_match():
    """Wait → find, which encodes what is new → cluster → publish."""

    @task(multiple_outputs=True)
    def plan(params: dict | None = None, dag_run=None) -> dict:
        """Settles the day, the bundle, what was there before and every path."""
        found = settings(params["where"])
        data = found["data"]
        day = chosen_day(params["date"], dag_run)
        pattern = params["input"].format(data=data, date=day)
        bundle = choose_bundle(params["model"], data)
        before = earlier_pointer(f"{data}/matches", day) or {"rows": [], "pairs": []}
        # Earlier pairs are of no use where another bundle found them, or with another limit.
        found_by = {"fingerprint": bundle["fingerprint"]}
        found_by |= {"min_similarity": params["min_similarity"]}
        resumes = all(before.get(key) == value for key, value in found_by.items())
        folder = f"{data}/matches/{day}/{bundle['fingerprint'][:12]}"
        rows = [*before["rows"], pattern]
        pairs = [*(before["pairs"] if resumes else []), f"{folder}/pairs"]
        columns = {key: params[key] for key in ("sentence_column", "id_column")}
        shared = {"max_reject_fraction": params["max_reject_fraction"]}
        shared |= {"overwrite": params["overwrite"]}
        search = {
            "input": [pattern] if resumes else rows,
            "against": before["rows"] if resumes else [],
            "model": bundle["bundle"],
            "model_sha256": bundle["fingerprint"],
            "embedding_store": f"{data}/vectors",
            "output": f"{folder}/pairs",
            "min_similarity": params["min_similarity"],
            "equal_sentences": "first",  # is enough for clusters
            **columns,
            **shared,
            **params["find_options"],
        }
        clustering = {
            "input": pairs,
            "rows": rows,
            "previous": before.get("clusters"),
            "output": f"{folder}/clusters",
            **columns,
            **shared,
            **params["cluster_options"],
        }
        name = f"{day}-{bundle['fingerprint'][:12]}"
        steps = {
            "find": step(found, "find", search, name=f"airflow-twinbeam-find-{name}"),
            "cluster": step(found, "cluster", clustering, name=f"airflow-twinbeam-cluster-{name}"),
        }
        links = {"Pairs": link(found, f"{folder}/pairs/")}
        page = {"Clusters": link(found, f"{folder}/clusters/_clusters.html")}
        ready = params["ready"]
        return {
            "date": day,
            "links": {
                "wait_for_input": {"Pairs": link(found, f"{pattern.rpartition('/')[0]}/")},
                "find": links,
                "cluster": page,
                "publish": links | page,
            },
            "wait_for": f"{pattern.rpartition('/')[0]}/{ready}" if ready else pattern,
            **steps,
            "jobs": [each["job"] for each in steps.values() if each["job"]],
            "publish": {
                "date": day,
                "rows": rows,
                "pairs": pairs,
                "clusters": f"{folder}/clusters",
                "bundle": bundle["bundle"],
                **found_by,
                "pointer": f"{data}/matches/{day}/current.json",
                "latest": f"{data}/matches/latest.json",
            },
        }

    @task(outlets=[CLUSTERS], max_active_tis_per_dag=1)
    def publish(night: dict, dag_run=None):
        """Points the day, and the last day, at these pairs and clusters."""
        pairs, clusters = (
            complete_manifest(folder) for folder in (night["pairs"][-1], night["clusters"])
        )
        pointer = {
            **{key: value for key, value in night.items() if key not in ("pointer", "latest")},
            "new_pairs": pairs["pairs"],
            "rows_rejected": pairs["rows_rejected"],
            "cluster_count": clusters["clusters"],
            **{key: clusters[key] for key in ("rows_clustered", "largest_cluster")},
            "run_id": dag_run.run_id,
            "published": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        publish_pointer(pointer, night["pointer"], night["latest"])
        print(
            f"{night['pointer']} → {night['clusters']}: {pairs['pairs']:,} new pairs, "
            f"{clusters['clusters']:,} clusters of {clusters['rows_clustered']:,} rows"
        )
        yield Metadata(CLUSTERS, {"date": night["date"], "clusters": clusters["clusters"]})

    planned = plan()
    wait = WaitForInput(
        task_id="wait_for_input",
        path=planned["wait_for"],
        execution_timeout=timedelta(hours=12),
        doc_md="Waits until the day's rows are complete.",
    )
    find = BeamStep(
        task_id="find",
        step=planned["find"],
        execution_timeout=timedelta(hours=6),
        doc_md="`pipelines.find`: encodes new sentences, and compares new rows with all.",
        shows=("Pairs",),
    )
    cluster = BeamStep(
        task_id="cluster",
        step=planned["cluster"],
        execution_timeout=timedelta(hours=3),
        doc_md="`pipelines.cluster`: all pairs so far → clusters, with ids that stay.",
        shows=("Clusters",),
    )
    published = show(publish(planned["publish"]), "Pairs", "Clusters")
    stopped = teardown(stop_jobs)(planned["jobs"])
    wait >> find >> cluster >> published
    cluster >> stopped
    checked = teardown(check_outcome, on_failure_fail_dagrun=True).override(**QUIET)("publish")
    [published, stopped] >> checked


twinbeam_match()
