"""Versions of our own code and of the packages that decide an output's content."""

from __future__ import annotations

import re
from collections.abc import Iterable
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


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Of ours and of these: a run that resumes must not mix what two versions made."""
    return {"twinbeam": twinbeam_version(), **{name: version(name) for name in packages}}
