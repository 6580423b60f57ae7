"""The documentation builds as a site, and a broken link stops it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def build(source: Path, site: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)],
        cwd=source, capture_output=True, text=True, timeout=200,
    )  # fmt: skip


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """What the site is made of, copied so that a test may break it."""
    folder = tmp_path / "source"
    for name in ("docs", "benchmarks", "deploy/kubernetes"):
        shutil.copytree(ROOT / name, folder / name)
    for path in [*ROOT.glob("*.md"), ROOT / "mkdocs.yml", ROOT / "LICENSE"]:
        shutil.copy(path, folder)
    return folder


def test_the_site_builds_and_every_page_is_in_its_navigation(source: Path, tmp_path: Path):
    done = build(source, tmp_path / "site")

    assert done.returncode == 0, done.stderr
    front = (tmp_path / "site/index.html").read_text(encoding="utf-8")
    for page in (source / "docs").glob("*.md"):
        assert f'href="{page.stem}.html"' in front, page.name


def test_a_broken_link_stops_the_build(source: Path, tmp_path: Path):
    page = source / "docs/cost.md"
    page.write_text(page.read_text(encoding="utf-8") + "\n[gone](gone.md)\n", encoding="utf-8")

    done = build(source, tmp_path / "site")

    assert done.returncode != 0 and "gone.md" in done.stderr
