"""The version of our own code, wherever it runs from."""

from __future__ import annotations

import re
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_SETUP = Path(__file__).resolve().parents[1] / "setup.py"
_VERSION = re.compile(r"""\bversion=["']([^"']+)["']""")


@cache
def twinbeam_version() -> str:
    """Of the checkout that runs, or of the package that was installed."""
    if _SETUP.is_file() and (found := _VERSION.search(_SETUP.read_text(encoding="utf-8"))):
        return found[1]
    try:
        return version("twinbeam")
    except PackageNotFoundError:
        return "unknown"
