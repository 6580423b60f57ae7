"""What the DAGs decide without running anything: which day, whether to wait, what to cancel."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from twinbeam_common import earlier_pointer, last_complete_day, link
from twinbeam_tasks import WaitForInput, active_jobs


@pytest.mark.parametrize(
    ("moment", "now", "day"),
    [
        ("2026-11-20T02:30", "2026-11-21T02:30", "2026-11-20"),  # the night's run
        ("2026-11-21T09:00", "2026-11-21T09:01", "2026-11-20"),  # a form's default: now
        ("2026-11-03T00:00", "2026-11-21T09:00", "2026-11-03"),  # a day chosen in the form
        ("2026-11-30T00:00", "2026-11-21T09:00", "2026-11-20"),  # a day to come
        ("2026-12-31T23:59", "2027-01-01T00:00", "2026-12-31"),
    ],
)
def test_the_day_without_a_word_is_the_last_complete_one(moment, now, day):
    moments = (datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (moment, now))

    assert last_complete_day(*moments) == day


def run_of(kind: str) -> dict:
    return {"dag_run": SimpleNamespace(run_type=kind)}


@pytest.mark.parametrize("pattern", ["_SUCCESS", "*.parquet", "[a-c].parquet"])
def test_a_run_by_hand_fails_at_once_where_a_scheduled_one_waits(tmp_path: Path, pattern: str):
    wait = WaitForInput(task_id="wait", path=str(tmp_path / "pairs" / pattern))

    with pytest.raises(AirflowFailException, match="does not wait"):
        wait.execute(run_of("manual"))
    for kind in ("scheduled", "asset_triggered", "backfill"):
        with pytest.raises(TaskDeferred):
            wait.execute(run_of(kind))

    (tmp_path / "pairs").mkdir()
    for name in ("_SUCCESS", "a.parquet"):
        (tmp_path / "pairs" / name).touch()
    assert wait.execute(run_of("manual")) is None


class Pages:
    """A list of jobs as Google's client gives it: one page after the other."""

    def __init__(self, *pages: list[dict]):
        self.pages = pages

    def list(self, **query: str) -> SimpleNamespace:
        assert query == {"projectId": "p", "location": "l", "filter": "ACTIVE"}
        return self._page(0)

    def list_next(self, request: SimpleNamespace, page: dict) -> SimpleNamespace | None:
        assert page == request.execute()
        return self._page(request.number + 1) if request.number + 1 < len(self.pages) else None

    def _page(self, number: int) -> SimpleNamespace:
        jobs = self.pages[number]
        answer = {"jobs": jobs} if jobs else {}  # an empty page has no such key
        return SimpleNamespace(number=number, execute=lambda: answer)


def test_a_job_is_found_on_any_page():
    mine, other = {"name": "mine", "id": "1"}, {"name": "other", "id": "2"}
    again = {"name": "mine", "id": "3"}
    service = Pages([other] * 25, [], [mine, other], [again])

    assert active_jobs(service, {"projectId": "p", "location": "l"}, "mine") == [mine, again]


def test_a_day_begins_with_what_the_last_one_before_it_has_published(tmp_path: Path):
    folder = str(tmp_path / "matches")
    assert earlier_pointer(folder, "2026-11-20") is None
    for day in ("2026-11-17", "2026-11-19", "2026-11-20", "2026-12-01"):
        (tmp_path / "matches" / day).mkdir(parents=True)
        if day != "2026-11-19":  # begun, and not published
            (tmp_path / "matches" / day / "current.json").write_text(json.dumps({"date": day}))
    (tmp_path / "matches" / "latest.json").write_text("{}")

    assert earlier_pointer(folder, "2026-11-17") is None
    assert earlier_pointer(folder, "2026-11-20") == {"date": "2026-11-17"}
    assert earlier_pointer(folder, "2026-11-30") == {"date": "2026-11-20"}


@pytest.mark.parametrize(
    ("found", "path", "address"),
    [
        ({"data": "/d"}, "/d/a b/report.html", "file:///d/a%20b/report.html"),
        ({"data": "/d", "links": "http://h:1/"}, "/d/a b/r.html", "http://h:1/a%20b/r.html"),
        ({"data": "/d", "links": "http://h:1"}, "/data/r.html", "file:///data/r.html"),
        (
            {"data": "gs://b/n"},
            "gs://b/n/s/",
            "https://console.cloud.google.com/storage/browser/b/n/s/",
        ),
        (
            {"data": "gs://b/n"},
            "gs://b/n/r.html",
            "https://console.cloud.google.com/storage/browser/_details/b/n/r.html",
        ),
    ],
)
def test_a_link_leads_where_a_browser_finds_it(found: dict, path: str, address: str):
    assert link(found, path) == address
