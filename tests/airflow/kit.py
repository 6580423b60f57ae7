"""What the tests share; not in conftest.py, which a second import would run again."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PYTHON = str(ROOT / ".venv/bin/python")


def make_data(folder: Path, *days: str) -> None:
    """Pairs of some days, labelled ones, ones to judge by, and a small recipe."""
    words = [PYTHON, "-m", "demo.nights", str(folder), "--labelled_rows", "1600", "--days", *days]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)


def settings(data: Path | str, **more: Any) -> dict[str, Any]:
    """The Airflow variable `twinbeam` of these tests."""
    recipe = {"recipe": f"{data}/recipe.yaml"}
    return {"python": PYTHON, "folder": str(ROOT), "data": str(data), **recipe, **more}
