"""The cloud on loopback, started once; each test gets a bucket folder of its own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.cloud.dataflow_service import DONE, PENDING, RUNNING
from tests.cloud.fakes import BUCKET, FakeCloud, fake_cloud

_numbers = itertools.count()


@pytest.fixture(scope="session")
def running_cloud() -> Iterator[FakeCloud]:
    with fake_cloud() as cloud:
        yield cloud


@pytest.fixture
def cloud(running_cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch) -> FakeCloud:
    """The cloud as if it had just been started, with this process's clients led to it."""
    for name, value in running_cloud.environment.items():
        monkeypatch.setenv(name, value)
    running_cloud.storage.calls.clear()
    service = running_cloud.dataflow
    service.jobs.clear()
    service.launches.clear()
    service.states, service.error, service.execute = (PENDING, RUNNING, DONE), "", False
    return running_cloud


@pytest.fixture
def bucket(cloud: FakeCloud) -> str:
    """A folder of the bucket that nobody else writes to."""
    return f"gs://{BUCKET}/test-{next(_numbers)}"
