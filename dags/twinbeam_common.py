"""What the DAGs of twinbeam share: settings, steps, where things are, small files.

No DAG is in here, and `.airflowignore` keeps Airflow from looking for one. It is beside the DAG
files, in the folder that Airflow has on its path. It imports Airflow and the standard library.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from urllib.parse import quote
from urllib.request import Request, urlopen

from airflow.sdk import Asset, ObjectStoragePath, Param, Variable

BUNDLE = Asset("twinbeam_bundle")  # twinbeam_train promotes it, twinbeam_daily waits for it
WHERE = ("as the settings say", "local", "cloud")
GOOGLE = "google_cloud_default"


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


def link(settings: dict, path: str) -> str:
    """Where a browser finds a file or a folder (whose path ends with /).

    Below `links` of the settings, the address under which `data` is served; without it in
    Google's console, or as the file itself, which browsers open only by hand.
    """
    if (base := settings.get("links")) and path.startswith(settings["data"] + "/"):
        return base.rstrip("/") + quote(path.removeprefix(settings["data"]))
    if path.startswith("gs://"):
        kind = "storage/browser" if path.endswith("/") else "storage/browser/_details"
        return f"https://console.cloud.google.com/{kind}/{quote(path.removeprefix('gs://'))}"
    return f"file://{quote(path)}"


def last_complete_day(moment: datetime, now: datetime) -> str:
    """The day of a moment, or yesterday where that day is not over: a form proposes today."""
    return min(moment.date(), now.date() - timedelta(days=1)).isoformat()


def chosen_day(date: str | None, dag_run) -> str:
    """The given day or, without one, the last complete one by the run's date."""
    moment = dag_run.logical_date or dag_run.run_after - timedelta(days=1)
    return date or last_complete_day(moment, datetime.now(UTC))


def choose_bundle(folder: str | None, data: str) -> dict:
    """The bundle in a folder or, without one, that which the pointer names.

    Raises:
        ValueError: there is none.
    """
    if folder:
        manifest = read_json(f"{folder.rstrip('/')}/manifest.json")
        if manifest is None:
            raise ValueError(f"{folder} is not a bundle: it has no manifest.json")
        return {"bundle": folder.rstrip("/"), "fingerprint": manifest["fingerprint"]}
    promoted = read_json(f"{data}/models/current.json")
    if promoted is None:
        raise ValueError(
            f"no bundle was promoted yet: {data}/models/current.json does not exist; run "
            "twinbeam_train, or give the parameter 'model'"
        )
    return promoted


def place(path: str) -> ObjectStoragePath:
    """A path, local or `gs://`."""
    return ObjectStoragePath(path, conn_id=GOOGLE if path.startswith("gs://") else None)


def is_there(path: str) -> bool:
    """Whether a file or object exists, or any that matches if the path is a pattern."""
    file = place(path)
    return file.exists() or bool(file.fs.glob(file.path))


def read_json(path: str) -> dict | None:
    """What a small file says; None if it is not there."""
    file = place(path)
    return json.loads(file.read_text()) if file.exists() else None


def earlier_pointer(folder: str, day: str) -> dict | None:
    """What the last day before this one has published below a folder; None if none has."""
    pointers = place(folder).fs.glob(f"{place(folder).path}/*/current.json")
    days = [path.split("/")[-2] for path in pointers]
    last = max((each for each in days if each < day), default=None)
    return read_json(f"{folder}/{last}/current.json") if last else None


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


def complete_manifest(folder: str) -> dict:
    """The manifest of a folder that a command of ours has completed.

    Raises:
        RuntimeError: it is not complete.
    """
    manifest = read_json(f"{folder}/_manifest.json")
    if manifest is None or not place(f"{folder}/_SUCCESS").exists():
        raise RuntimeError(f"{folder} is not complete: it has no _SUCCESS")
    return manifest


def publish_pointer(pointer: dict, day: str, latest: str) -> None:
    """Writes a day's pointer, and that to the last day, which never goes back."""
    replace_json(day, pointer)
    last = read_json(latest)
    if last is None or last["date"] <= pointer["date"]:
        replace_json(latest, pointer)


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
# Of the teardown that only repeats that something failed: whoever must know was called before.
QUIET = {"on_failure_callback": []}
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


def day_param(purpose: str) -> Param:
    """The form's field for the day; a purpose such as `Which to score`."""
    return Param(
        None,
        type=["null", "string"],
        format="date",
        title="Day",
        description=f"{purpose}. Empty: that of the run's logical date if it is over, else "
        "yesterday.",
    )


def bundle_param(purpose: str) -> Param:
    """The form's field for the bundle; a purpose such as `to score with`."""
    return Param(
        None,
        type=["null", "string"],
        title="Bundle",
        description=f"Folder of the bundle {purpose}. Empty: the one promoted last.",
    )


def ready_param(rows: str) -> Param:
    """The form's field for the file that says that the rows, such as `pairs`, are complete."""
    return Param(
        "_SUCCESS",
        type=["null", "string"],
        title="Ready file",
        description=f"The file beside the {rows} that says they are complete. Empty: the first "
        "file that fits is enough.",
    )


def rejects_param(done: str) -> Param:
    """The form's field for the share of rows that cannot be `done`, such as `scored`."""
    return Param(
        0.05,
        type="number",
        minimum=0,
        maximum=1,
        title="Rejected rows",
        description=f"With a greater share of rows that cannot be {done} the run fails.",
        section="How",
    )


def flags_param(title: str, description: str) -> Param:
    """The form's field for further flags of a command, as JSON."""
    return Param({}, type="object", title=title, description=description, section="How")
