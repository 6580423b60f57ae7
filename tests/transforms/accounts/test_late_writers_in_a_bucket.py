"""Two writers in every order where there is no lock and nothing can be renamed: in a bucket.

`tests/cloud/test_late_writers.py` does some of the same with a server.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.late_writers import Publishers, check_whole, orders, ways
from tests.memory_bucket import MemoryBuckets
from tests.scoring_kit import pairs, write
from tests.transforms.accounts.test_late_writers import WAYS
from transforms.accounts import claims
from transforms.storage import gcs


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> MemoryBuckets:
    found = MemoryBuckets()
    monkeypatch.setattr(gcs, "_client", lambda: found)
    return found


@pytest.mark.parametrize(
    "every", [pytest.param(1, marks=[pytest.mark.slow, pytest.mark.timeout(1800)]), 31]
)
@pytest.mark.parametrize("way", WAYS)
def test_two_writers_in_every_order(
    store: MemoryBuckets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, every: int
) -> None:
    source = str(write(tmp_path / "in.parquet", pairs(3), row_group_size=1))
    before, first, second = ways(source, lambda number: f"gs://b/out-{number}")[way]
    refused = []
    for number, was_refused in orders(monkeypatch, first, second, before=before, every=every):
        manifest = check_whole(f"gs://b/out-{number}")
        assert claims.owner(f"gs://b/out-{number}") == manifest["run"]
        refused.append(was_refused)
        store.objects.clear()

    assert len(refused) * every > 60
    if way != "a second commit":  # two attempts at one commit may both end well
        assert refused.count(True) > len(refused) / 2


@pytest.mark.parametrize("way", ["another run", "another run over an old one", "a second attempt"])
def test_two_writers_of_folders_that_appear_at_once(
    store: MemoryBuckets, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    made = Publishers(lambda number: f"gs://b/out-{number}")
    before, first, second = made.ways[way]
    refused = []
    for number, was_refused in orders(monkeypatch, first, second, before=before):
        made.check(number)
        refused.append(was_refused)
        store.objects.clear()

    assert len(refused) > 20
    if way != "a second attempt":
        assert refused.count(True) > len(refused) / 2
