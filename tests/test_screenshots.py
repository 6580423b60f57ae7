"""The pictures in the documentation: small, of the pages they say, and made by a command."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import pytest

from demo import screenshots

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs/images"
BROWSER = next(filter(None, map(shutil.which, screenshots.BROWSERS)), None)


def size_of(picture: Path) -> tuple[int, int]:
    """Width and height, as a PNG's first block says them."""
    width, height = struct.unpack(">II", picture.read_bytes()[16:24])
    return width, height


@pytest.mark.parametrize(
    ("name", "width", "height"), [(p[0], *p[2:]) for p in screenshots.PICTURES]
)
def test_every_picture_is_there_small_and_shown(name: str, width: int, height: int):
    assert size_of(IMAGES / name) == (width, height)
    assert (IMAGES / name).stat().st_size < 300_000
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    assert any(f"images/{name}" in page.read_text(encoding="utf-8") for page in pages)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium: apt-get install chromium")
def test_a_picture_is_taken_of_the_page(tmp_path: Path):
    (tmp_path / "page.html").write_text("<body style='background: #f00'>")
    picture = screenshots.take(tmp_path / "page.html", tmp_path / "page.png", 500, 300)
    assert size_of(picture) == (500, 300)


def test_without_the_demos_data_it_says_what_makes_it(tmp_path: Path):
    with pytest.raises(SystemExit, match="make demo"):
        screenshots.run([str(tmp_path)])
