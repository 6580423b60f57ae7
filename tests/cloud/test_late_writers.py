"""In a bucket, where no lock is held: after a commit no late writer changes or adds an object."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.late_writers import Publishers, check_whole, orders, ways
from tests.scoring_kit import pairs, write


@pytest.mark.parametrize(
    "way",
    [
        "another run",
        "another run over an old one",
        "an attempt of the same run",
        "another run before the commit",
    ],
)
def test_two_writers_in_many_orders(
    cloud, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    source = str(write(tmp_path / "in.parquet", pairs(3), row_group_size=1))
    before, first, second = ways(source, lambda number: f"{bucket}/out-{number}")[way]
    refused = []
    for number, was_refused in orders(monkeypatch, first, second, before=before, every=23):
        check_whole(f"{bucket}/out-{number}")
        refused.append(was_refused)

    assert refused.count(True) > len(refused) / 2


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("way", ["another run over an old one", "the same run again"])
def test_two_writers_in_every_order(
    cloud, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    source = str(write(tmp_path / "in.parquet", pairs(4), row_group_size=1))
    before, first, second = ways(source, lambda number: f"{bucket}/out-{number}")[way]
    for number, _ in orders(monkeypatch, first, second, before=before):
        check_whole(f"{bucket}/out-{number}")


@pytest.mark.parametrize("way", ["another run", "another run over an old one"])
def test_two_writers_of_folders_that_appear_at_once(
    cloud, bucket: str, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    made = Publishers(lambda number: f"{bucket}/out-{number}")
    before, first, second = made.ways[way]
    refused = []
    for number, was_refused in orders(monkeypatch, first, second, before=before, every=19):
        made.check(number)
        refused.append(was_refused)

    assert refused.count(True) > len(refused) / 2
