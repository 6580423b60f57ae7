"""What the DAGs decide without running anything: which day, whether to wait, what to cancel."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from twinbeam_common import active_jobs
from twinbeam_daily import WaitForInput, last_complete_day


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
