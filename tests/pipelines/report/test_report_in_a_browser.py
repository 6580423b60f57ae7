"""The report in headless Chromium: it runs without an error, and its slider tells the truth."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from pipelines.report.page import render
from tests.pipelines.evaluated import evaluated
from tests.scored_pairs import scored_table

BROWSER = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium: apt-get install chromium")
TABLE = scored_table(2_000)


def browse(page: Path, *flags: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
         "--no-first-run", f"--user-data-dir={page.parent / 'profile'}", "--enable-logging=stderr",
         "--hide-scrollbars", *flags, page.as_uri()],
        capture_output=True, text=True, timeout=200, check=True,
    )  # fmt: skip


def complaints(done: subprocess.CompletedProcess) -> list[str]:
    return [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.fixture
def page(tmp_path: Path) -> Path:
    history = [{"loss": 0.6, "eval_accuracy": 0.6}, {"loss": 0.4, "eval_accuracy": 0.7}]
    (tmp_path / "report.html").write_text(render(evaluated(TABLE), history))
    return tmp_path / "report.html"


def shown(done: subprocess.CompletedProcess, name: str) -> str:
    return re.search(rf'id="{name}"[^>]*>([^<]*)<', done.stdout)[1]


def add_script(page: Path, script: str) -> Path:
    other = page.with_name("scripted.html")
    other.write_text(page.read_text().replace("</body>", f"<script>{script}</script></body>"))
    return other


def test_the_page_runs_without_a_word_on_the_console(page: Path):
    done = browse(page, "--dump-dom")

    assert complaints(done) == []
    assert "http://" not in page.read_text() and "https://" not in page.read_text()


def test_a_word_on_the_console_would_be_seen(page: Path):
    assert complaints(browse(add_script(page, "nothing_of_this_name()"), "--dump-dom"))


def test_the_slider_shows_the_confusion_at_its_threshold(page: Path):
    script = (
        "const s = document.getElementById('threshold'); s.value = 300;"
        "s.dispatchEvent(new Event('input'));"
    )
    before, after = browse(page, "--dump-dom"), browse(add_script(page, script), "--dump-dom")
    threshold = float(shown(after, "threshold-value"))
    similarity, label = (TABLE[name].to_numpy() for name in ("similarity", "label"))
    similar = similarity >= threshold
    counts = {
        "tn": ~similar & (label == 0),
        "fp": similar & (label == 0),
        "fn": ~similar & (label == 1),
        "tp": similar & (label == 1),
    }

    assert float(shown(before, "threshold-value")) == pytest.approx(0.5, abs=0.01)
    assert threshold > 0.6
    for name, expected in counts.items():  # the threshold is shown with four digits
        assert int(shown(after, name).split(" ")[0].replace(",", "")) == pytest.approx(
            expected.sum(), abs=1
        )
    accuracy = np.mean(similar == label)
    assert float(shown(after, "at-accuracy")) == pytest.approx(accuracy, abs=2e-3)


@pytest.mark.parametrize("width", [390, 1200])
def test_nothing_sticks_out_at_the_side(page: Path, width: int):
    # A window has a least width, a frame has none.
    frame = page.with_name("frame.html")
    script = (
        "const d = document.querySelector('iframe').contentDocument.documentElement;"
        "document.title = d.scrollWidth + ' ' + d.clientWidth;"
    )
    frame.write_text(
        f'<title></title><iframe src="report.html" width="{width}" height="900" '
        f'onload="{script}"></iframe>'
    )
    done = browse(frame, "--dump-dom", "--allow-file-access-from-files")
    content, room = map(int, re.search(r"<title>(\d+) (\d+)</title>", done.stdout).groups())

    assert content <= room <= width
