"""Pictures of the pages for the documentation, from the demo's data, by headless Chromium.

make demo && make screenshots
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# Name of the picture, its page below the demo's folder, width and height in pixels.
PICTURES = (
    ("report.png", "report/report.html", 1100, 1000),
    ("drift.png", "scores/_drift.html", 1000, 720),
    ("clusters.png", "clusters/_clusters.html", 1000, 720),
    ("label.png", "to-label/label.html", 800, 560),
)


def run(argv: Sequence[str] | None = None) -> list[Path]:
    """Writes the pictures; returns their paths."""
    parser = argparse.ArgumentParser(prog="python -m demo.screenshots", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("demo-data"))
    parser.add_argument("--output", type=Path, default=Path("docs/images"))
    args = parser.parse_args(argv)
    if not (args.folder / "report/report.html").exists():
        raise SystemExit(f"{args.folder} holds no report: make demo makes one")
    if not (args.folder / "to-label").exists():
        choose_pairs(args.folder)
    written = [
        take(args.folder / page, args.output / name, width, height)
        for name, page, width, height in PICTURES
    ]
    for path in written:
        print(f"{path}  {path.stat().st_size // 1024} kB")
    return written


def choose_pairs(folder: Path) -> None:
    """The demo has no page to label on: makes one."""
    words = ["--input", folder / "scores", "--output", folder / "to-label", "--pairs", "40"]
    subprocess.run([sys.executable, "-m", "twinbeam", "label", *map(str, words)], check=True)


def take(page: Path, picture: Path, width: int, height: int) -> Path:
    """Takes a picture of a page's top; returns its path.

    Raises:
        SystemExit: there is no browser.
    """
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise SystemExit("no Chromium: apt-get install chromium")
    with tempfile.TemporaryDirectory(prefix="twinbeam-browser-") as profile:
        subprocess.run(
            [
                browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
                "--disable-background-networking", "--hide-scrollbars",
                f"--user-data-dir={profile}", f"--window-size={width},{height}",
                f"--screenshot={picture.resolve()}", page.resolve().as_uri(),
            ],
            check=True, capture_output=True, timeout=120,
        )  # fmt: skip
    return picture


if __name__ == "__main__":
    run()
