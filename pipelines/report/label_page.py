"""The page to label on: one HTML file that needs nothing else, not even a network.

It keeps the answers in the browser and saves them as Parquet, so that they go straight into
`preprocess` and `evaluate`, and as CSV to look at.
"""

from __future__ import annotations

import json
from importlib.resources import files as package_files
from typing import Any

import pyarrow as pa

from pipelines.report.html_page import style

_TEMPLATE = "label.html"


def render_label_page(pairs: pa.Table, name: str) -> str:
    """The page for chosen pairs.

    Args:
        pairs: as `transforms.labelling.choice.choose` gives them.
        name: of the choice; answers to another choice are kept apart in the browser.
    """
    data: dict[str, Any] = {"name": name, "pairs": pairs.to_pylist()}
    template = package_files("pipelines.report").joinpath(_TEMPLATE).read_text(encoding="utf-8")
    written = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")
    return template.replace("/*STYLE*/", style()).replace("/*DATA*/null", written)
