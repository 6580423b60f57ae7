"""`drift`: scores of several nights become one page, the last night compared with those before."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pipelines import drift
from pipelines.report.trend_page import Night, changes, headline, trend_page
from transforms.errors import UserError

DAY = 86_400
START = 1_700_000_000  # 2023-11-14 22:13 UTC


def scores(folder: Path, night: int, unknown: float, *, bundle: str = "aaaa", **more) -> Path:
    folder.mkdir()
    manifest = {
        "rows_in": 1_000, "rows_scored": 990, "rows_rejected": 10, "started": START + night * DAY,
        "bundle": {"fingerprint": bundle * 8},
        "drift": {"drift": unknown, "out_of_vocabulary": unknown, "similarity": 0.01},
    }  # fmt: skip
    (folder / "_manifest.json").write_text(json.dumps(manifest | more))
    return folder


@pytest.fixture
def nights(tmp_path: Path) -> Path:
    # The names are not in the order of the nights.
    scores(tmp_path / "scores-c", 0, 0.02)
    scores(tmp_path / "scores-a", 1, 0.04)
    scores(tmp_path / "scores-d", 2, 0.03)
    scores(tmp_path / "scores-b", 3, 0.31, rows_rejected=50)
    return tmp_path


def test_the_last_night_is_compared_with_those_before(nights: Path, capsys):
    page = nights / "drift.html"
    found = drift.run(["--input", str(nights / "scores-*"), "--output", str(page)])

    assert [night.folder[-1] for night in found] == ["c", "a", "d", "b"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Drift of 2023-11-17: much, 0.310"
    assert lines[1].strip() == (
        "unknown tokens: 0.310 (much); median of the 3 nights before: 0.030 (little)"
    )
    assert lines[3].strip() == "rejected rows: 5.00%; median before: 1.00%"
    assert lines[-1] == f"4 nights: {page}"
    text = page.read_text()
    for line in lines[1:-1]:
        assert line.strip() in text
    assert "http" not in text.replace("http-equiv", "") and "<script" not in text


def test_every_night_has_its_dot_and_its_row(nights: Path):
    found = drift.read_nights(drift.folders([str(nights / "scores-*")]))
    html = trend_page(found)
    dots = re.findall(r'<circle class="one"[^>]*cy="([\d.]+)"[^>]*><title>([^<]*)', html)
    unknown = [(float(y), title) for y, title in dots if "unknown" in title]
    assert [title for _, title in unknown] == [
        "unknown tokens, 2023-11-14: 0.020", "unknown tokens, 2023-11-15: 0.040",
        "unknown tokens, 2023-11-16: 0.030", "unknown tokens, 2023-11-17: 0.310",
    ]  # fmt: skip
    heights = [y for y, _ in unknown]
    assert heights[0] > heights[2] > heights[1] > heights[3]  # y grows downwards
    assert html.count("<tr><td") == 4


def test_another_bundle_is_named(tmp_path: Path):
    scores(tmp_path / "a", 0, 0.02)
    scores(tmp_path / "b", 1, 0.02, bundle="bbbb")
    found = drift.read_nights(drift.folders([str(tmp_path / "a"), str(tmp_path / "b")]))
    assert any("2023-11-15: another bundle, bbbbbbbb;" in line for line in changes(found))


def test_two_runs_of_a_day_are_called_by_their_folders(tmp_path: Path):
    scores(tmp_path / "first", 0, 0.02)
    scores(tmp_path / "second", 0.001, 0.02)
    found = drift.read_nights([str(tmp_path / "first"), str(tmp_path / "second")])
    assert [night.name for night in found] == ["first", "second"]


def test_one_night_and_nights_without_drift_have_a_page():
    night = Night("out/scores", "scores", "", 0, 0, {})
    assert headline([night]) == "Drift of scores: unknown"
    assert changes([night]) == []
    assert "Drift of scores: unknown" in trend_page([night, night])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--input", "gone-*", "--output", "x.html"], "no folder of scores"),
        (["--input", "HERE/clusters", "--output", "x.html"], "holds no scores"),
        (["--input", "HERE/clusters", "--output", "x"], "such as drift.html"),
    ],
)
def test_what_is_no_scores_is_reported(tmp_path: Path, flags: list[str], message: str):
    (tmp_path / "clusters").mkdir()
    (tmp_path / "clusters/_manifest.json").write_text('{"clusters": 3}')
    with pytest.raises(UserError, match=message):
        drift.run([flag.replace("HERE", str(tmp_path)) for flag in flags])


def test_a_link_to_the_page_stays(nights: Path, tmp_path: Path):
    page = tmp_path / "drift.html"
    page.symlink_to("elsewhere.html")
    drift.run(["--input", f"{nights}/*", "--output", str(page)])
    assert page.is_symlink() and "<html" in (tmp_path / "elsewhere.html").read_text()


@pytest.mark.parametrize(
    "change",
    [{"rows_in": "a"}, {"rows_in": None}, {"drift": [1]}, {"drift": {"drift": float("nan")}},
     {"started": "x"}, {"started": 1e300}, {"bundle": []}],
)  # fmt: skip
def test_a_manifest_that_was_changed_is_reported(tmp_path: Path, change: dict):
    path = scores(tmp_path / "scores", 0, 0.02) / "_manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(UserError, match="its manifest was changed; score again"):
        drift.run(["--input", str(path.parent), "--output", str(tmp_path / "drift.html")])
