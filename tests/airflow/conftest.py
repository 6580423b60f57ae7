"""Airflow's own environment, with a database of its own, and data that our commands made.

`make test-airflow` runs these tests; elsewhere, where there is no Airflow, they are left out.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.airflow.kit import ROOT, make_data, settings

DAYS = ("2026-11-17", "2026-11-18", "2026-11-19", "2026-11-20")
HAS_AIRFLOW = find_spec("airflow") is not None  # not of a part of it: that would import it
collect_ignore_glob = [] if HAS_AIRFLOW else ["test_*.py"]

if HAS_AIRFLOW:  # its settings are read when it is imported
    from deploy.airflow.local import environment

    _folder = tempfile.TemporaryDirectory(prefix="twinbeam-airflow-")
    os.environ.update(environment(Path(_folder.name), 1, {}))
    os.environ.pop("AIRFLOW_VAR_TWINBEAM")
    # Else gcsfs asks Google itself, by gRPC and for a minute, what kind of bucket the stand-in is.
    os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The quick ones first; each file makes what it needs itself."""
    order = ("test_dags", "test_gate", "test_rules", "test_here", "test_dataflow", "test_scheduler")
    items.sort(key=lambda item: order.index(Path(item.path).stem))


@pytest.fixture(scope="session")
def database() -> None:
    for words in (["db", "migrate"], ["pools", "set", "twinbeam_gpu", "1", "GPUs"]):
        subprocess.run(["airflow", *words], check=True, capture_output=True)


@pytest.fixture(scope="session")
def run_dag(database: None) -> Callable[..., SimpleNamespace]:
    """Runs a DAG in this process, with triggers and all, as Airflow's `dag.test()` does."""

    def run(
        name: str, variable: dict[str, Any], day: str, *, retries: int = 1, **conf: Any
    ) -> SimpleNamespace:
        import pendulum
        from airflow.dag_processing.bundles.manager import DagBundlesManager
        from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db

        os.environ["AIRFLOW_VAR_TWINBEAM"] = json.dumps(variable)
        bag = DagBag(ROOT / "dags")
        assert bag.import_errors == {}
        DagBundlesManager().sync_bundles_to_db()
        for task in bag.dags[name].tasks:  # no minutes between two tries
            task.retries, task.retry_delay = retries, timedelta(seconds=1)
        sync_bag_to_db(bag, "dags-folder", None)
        moment = pendulum.parse(f"{day}T02:30:00Z")
        done = bag.dags[name].test(logical_date=moment, run_conf=conf)
        states = {ti.task_id: str(ti.state) for ti in done.get_task_instances()}
        return SimpleNamespace(state=str(done.state), tasks=states, run_id=done.run_id)

    return run


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_data(folder, *DAYS)
    return folder


@pytest.fixture(scope="session")
def trained(data: Path, run_dag: Callable[..., SimpleNamespace]) -> Iterator[SimpleNamespace]:
    """A first run of `twinbeam_train`, which had no bundle to beat."""
    yield run_dag("twinbeam_train", settings(data), "2026-11-15")
