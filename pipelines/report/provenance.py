"""Where a report comes from: when, of what, by which bundle."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from typing import Any

from pipelines.report.chart_sections import used_threshold
from pipelines.report.html_page import fact_list
from transforms.evaluation.slices import SEEN

ROWS_TRAINED_ON = "rows_trained_on"


def facts(found: dict[str, Any], rows: str) -> str:
    """When, of what, by which bundle, and at which threshold, as they are stored."""
    lineage = found["lineage"]
    bundle = lineage.get("bundle") or lineage.get("scores", {}).get("bundle", {})
    fingerprint = str(bundle.get("fingerprint", ""))[:12]
    shown = {
        "date": _date(found.get("started")),
        "input": ", ".join(map(str, lineage.get("inputs", []))),
        "rows": rows,
        "bundle": " ".join(filter(None, [str(bundle.get("path") or ""), fingerprint])),
    }
    if "thresholds" in found and (used := used_threshold(found)) is not None:
        shown["threshold"] = str(used)
    return fact_list(shown)


def _date(started: float | None) -> str:
    return "" if started is None else f"{datetime.fromtimestamp(started, UTC):%Y-%m-%d %H:%M} UTC"


def seen_in_training(found: dict[str, Any]) -> str:
    """Warnings where pairs are judged that the network was trained on, or their sentences."""
    return _files_seen(found) + _sentences_seen(found)


def _files_seen(found: dict[str, Any]) -> str:
    rows = found["lineage"].get(ROWS_TRAINED_ON, 0)
    if not rows:
        return ""
    return (
        f'<p class="alarm"><strong>{rows:,} of {found["rows"]:,} pairs</strong> are from files '
        "that the bundle was trained on: their measures say how well they are remembered, not how "
        "good the model is on other pairs.</p>"
    )


def _sentences_seen(found: dict[str, Any]) -> str:
    by_value = {
        entry["value"]: entry["rows"] for entry in found["slices"] if entry["slice"] == SEEN
    }
    seen = by_value.get("both", 0)
    if not seen:
        return ""
    return (
        f'<p class="alarm"><strong>{seen:,} of {found["rows"]:,} pairs</strong> have both their '
        "sentences from the training data: their measures say how well they are remembered."
        "</p>"
    )


def chain(found: dict[str, Any]) -> str:
    """How the report came to be, as boxes in a row: examples → bundle → scores → report."""
    lineage = found["lineage"]
    bundle = lineage.get("bundle") or lineage.get("scores", {}).get("bundle", {})
    boxes = [
        ("examples", lineage.get("examples", {}).get("path")),
        ("bundle", bundle.get("path") and f"{bundle['path']} · {bundle.get('recipe', '')}"),
        ("scores", ", ".join(map(str, lineage.get("inputs", [])))),
        ("this report", f"{found['rows']:,} pairs"),
    ]
    drawn = (
        f'<div class="card"><div class="name">{name}</div>{escape(str(text).rstrip(" ·"))}</div>'
        for name, text in boxes
        if text
    )
    return f'<div class="chain">{"<span>→</span>".join(drawn)}</div>'


def flat(value: Any, name: str = "") -> list[tuple[str, Any]]:
    """Names and values of what is nested, one level."""
    if isinstance(value, dict):
        return [
            pair
            for key, each in value.items()
            for pair in flat(each, f"{name} · {key}" if name else key)
        ]
    return [(name, ", ".join(map(str, value)) if isinstance(value, list) else value)]
