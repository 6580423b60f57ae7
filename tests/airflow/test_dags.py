"""What must hold of the DAG files before anything runs."""

from __future__ import annotations

import ast
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.dag_processing.importers.python_importer import PythonDagImporter
from airflow.sdk.definitions.param import Param

ROOT = Path(__file__).resolve().parents[2]
SHARED = {"twinbeam_common", "twinbeam_tasks"}
FILES = sorted((ROOT / "dags").glob("*.py"))
TASKS = {
    "twinbeam_daily": {
        "plan", "wait_for_input", "score", "has_labels", "evaluate", "publish", "stop_jobs",
        "check_outcome",
    },
    "twinbeam_match": {
        "plan", "wait_for_input", "find", "cluster", "publish", "stop_jobs", "check_outcome",
    },
    "twinbeam_train": {
        "plan", "preprocess", "train", "score_new", "score_current", "evaluate_new",
        "evaluate_current", "gate", "promote", "stop_jobs", "stop_training", "check_outcome",
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def bag(database: None) -> DagBag:
    return DagBag(ROOT / "dags")


def test_all_dags_load(bag: DagBag):
    assert bag.import_errors == {}
    assert {name: set(dag.task_ids) for name, dag in bag.dags.items()} == TASKS


def test_airflow_itself_finds_no_error(database: None):
    # In the bundle's name, as its servers do: then the folder is on the path.
    words = ["dags", "list-import-errors", "--local", "--bundle-name", "dags-folder"]
    done = subprocess.run(["airflow", *words], capture_output=True, text=True)

    assert done.returncode == 0 and "No data found" in done.stdout, done.stdout + done.stderr


def test_a_dag_has_no_cycle_and_one_way_through(bag: DagBag):
    for dag in bag.dags.values():
        dag.check_cycle()
        assert [task.task_id for task in dag.roots] == ["plan"]


def test_everything_is_documented_and_owned(bag: DagBag):
    for dag in bag.dags.values():
        assert dag.doc_md and dag.description and dag.tags == {"twinbeam"}
        for task in dag.tasks:
            assert task.owner == "twinbeam"
            assert task.doc_md or task.python_callable.__doc__, task.task_id


def test_every_task_retries_with_backoff_in_limits(bag: DagBag):
    for dag in bag.dags.values():
        assert dag.max_active_runs == 1 and dag.dagrun_timeout and not dag.catchup
        for task in dag.tasks:
            assert task.retries == 2 and task.retry_exponential_backoff
            assert task.retry_delay <= task.max_retry_delay == timedelta(minutes=20)
            assert timedelta() < task.execution_timeout < dag.dagrun_timeout
            # What only repeats that another task failed calls nobody a second time.
            assert len(task.on_failure_callback) == (task.task_id != "check_outcome")


def test_a_run_is_what_its_last_task_is_whatever_the_teardowns_do(bag: DagBag):
    for dag in bag.dags.values():
        check = dag.get_task("check_outcome")
        teardowns = {task.task_id for task in dag.tasks if task.is_teardown}
        others = {task.task_id for task in dag.tasks} - {"check_outcome"}

        assert check.is_teardown and check.on_failure_fail_dagrun
        assert {task.task_id for task in dag.leaves} == {"check_outcome"}
        assert check.upstream_task_ids == (teardowns - {"check_outcome"}) | set(check.op_args)
        assert check.get_flat_relative_ids(upstream=True) == others


def test_the_schedule_can_be_read(bag: DagBag):
    """The description says when it runs, in the hours of the timetable itself."""
    for dag in bag.dags.values():
        timetable = getattr(dag.timetable, "timetable", dag.timetable)
        minute, hour = timetable.expression.split()[:2]

        assert f"at {int(hour):02}:{int(minute):02} UTC" in dag.description
        assert ("a bundle was promoted" in dag.description) == hasattr(dag.timetable, "timetable")


def test_every_task_with_a_result_has_a_link_to_it(bag: DagBag):
    links = {
        name: {
            task.task_id: [link.name for link in task.operator_extra_links]
            for task in dag.tasks
            if task.operator_extra_links
        }
        for name, dag in bag.dags.items()
    }

    assert links == {
        "twinbeam_daily": {
            "wait_for_input": ["Pairs"],
            "score": ["Scores"],
            "evaluate": ["Report"],
            "publish": ["Scores", "Report"],
        },
        "twinbeam_match": {
            "wait_for_input": ["Pairs"],
            "find": ["Pairs"],
            "cluster": ["Clusters"],
            "publish": ["Pairs", "Clusters"],
        },
        "twinbeam_train": {
            "preprocess": ["Examples"],
            "train": ["Bundle"],
            "score_new": ["Scores"],
            "score_current": ["Scores"],
            "evaluate_new": ["Report"],
            "evaluate_current": ["Report"],
            "gate": ["Decision", "Report"],
            "promote": ["Bundle", "Report"],
        },
    }


def test_training_goes_through_the_pool_of_gpus(bag: DagBag):
    pools = {task.task_id: task.pool for task in bag.dags["twinbeam_train"].tasks}

    assert pools.pop("train") == "twinbeam_gpu"
    assert set(pools.values()) == {"default_pool"}


def test_a_promoted_bundle_starts_scoring(bag: DagBag):
    promote = bag.dags["twinbeam_train"].get_task("promote")
    daily = bag.dags["twinbeam_daily"]
    assets = [asset.name for asset in daily.timetable.asset_condition.objects]

    assert [asset.name for asset in promote.outlets] == assets == ["twinbeam_bundle"]
    assert [asset.name for asset in daily.get_task("publish").outlets] == ["twinbeam_scores"]


def test_the_form_explains_itself(bag: DagBag):
    for dag in bag.dags.values():
        params = {name: dag.params.get_param(name) for name in dag.params}
        assert params
        for name, param in params.items():
            assert isinstance(param, Param)
            assert param.schema.get("type") and param.schema.get("title"), name
            assert param.description and param.description.endswith("."), name
            param.resolve()  # what it is without a word is allowed


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_imports_airflow_and_what_they_share(file: Path):
    imported = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module.partition(".")[0])

    assert imported - set(sys.stdlib_module_names) - SHARED == {"airflow"}


def test_what_they_share_is_not_taken_for_a_dag_file():
    found = PythonDagImporter().list_dag_files(ROOT / "dags")

    assert {Path(file).stem for file in found} == set(TASKS)
    assert {file.stem for file in FILES} == {*TASKS, *SHARED}


@pytest.mark.parametrize("name", TASKS)
def test_a_file_is_read_without_network_variables_or_large_packages(name: str):
    # A process of its own: nothing that others imported, only Airflow, as in its DAG processor.
    code = f"""
import runpy, socket, sys
import airflow.sdk, airflow.dag_processing.dagbag
from airflow.sdk import Variable
sys.path.append({str(ROOT / "dags")!r})
def refuse(*_, **__): raise AssertionError("read while the file was parsed")
socket.socket.connect = Variable.get = refuse
before = set(sys.modules)
runpy.run_path({str(ROOT / "dags" / name) + ".py"!r})
print(*set(sys.modules) - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    imported = done.stdout.splitlines()[-1].split()
    ours = {module.partition(".")[0] for module in imported}
    providers = {
        module.split(".")[2]
        for module in imported
        if module.count(".") > 1 and module.startswith("airflow.providers.")
    }

    # What takes seconds: Google's clients and operators, Beam and its operator.
    assert not ours & {"apache_beam", "google", "googleapiclient", "pandas", "numpy", "grpc"}
    assert not providers & {"google", "apache"}
