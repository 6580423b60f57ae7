"""Writes the report of an evaluation: one HTML file that needs nothing else, and PNG plots.

The page is static except for one script, which moves the threshold. It is drawn from metrics.json.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from html import escape
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

from pipelines.report import chart_sections, provenance, svg_charts
from pipelines.report.doubts_page import doubts_section
from pipelines.report.html_page import style, table
from pipelines.report.mistakes import worst_section
from pipelines.report.png_plots import write_plots
from transforms.storage import files

REPORT = "report.html"
_TEMPLATE = "report.html"
_MAX_PICTURE = 2 << 20
NAMES = {
    "f1": "F1",
    "roc_auc": "ROC AUC",
    "pr_auc": "PR AUC",
    "brier": "Brier score",
    "macro_f1": "macro F1",
    "pearson": "Pearson",
    "spearman": "Spearman",
}
FEW_ROWS = 100  # a measure of fewer pairs says little
IN_TABLES = ("accuracy", "precision", "recall", "f1", "roc_auc", "macro_f1", "pearson", "spearman")


def write_report(folder: Path, found: dict[str, Any], *, bundle: str | None) -> None:
    """Writes report.html and the PNG plots into a folder.

    Args:
        folder: an existing local folder.
        found: the content of metrics.json.
        bundle: the bundle that scored, for its training curves and picture; None where unknown.
    """
    history, picture = bundle_papers(bundle)
    (folder / REPORT).write_text(render(found, history, picture), encoding="utf-8")
    write_plots(folder, found)


def bundle_papers(bundle: str | None) -> tuple[list[dict[str, Any]], bytes | None]:
    """The training history and the model's picture in a bundle, as far as they exist."""
    if bundle is None:
        return [], None
    metrics, image = files.join(bundle, "metrics.json"), files.join(bundle, "model.png")
    history = files.read_json(metrics).get("history", []) if files.exists(metrics) else []
    picture = files.read_bytes(image) if files.exists(image) else None
    return history, picture if picture and len(picture) <= _MAX_PICTURE else None


def render(
    found: dict[str, Any], history: Sequence[dict[str, Any]] = (), picture: bytes | None = None
) -> str:
    """The page, from the content of metrics.json."""
    body = [
        heading(found),
        headline(found),
        chart_sections.threshold_section(found) if "thresholds" in found else "",
        chart_sections.chart_section(found),
        confusion_section(found) if found["task"] == "classes" else "",
        baseline_section(found),
        slice_section(found["slices"]),
        worst_section(found["worst"]),
        doubts_section(found.get("doubts")),
        chart_sections.training_section(history),
        picture_section(picture),
        lineage_section(found),
    ]
    thresholds = chart_sections.thresholds(found)
    box = {
        "left": svg_charts.LEFT,
        "top": svg_charts.TOP,
        "width": svg_charts.WIDTH - svg_charts.LEFT - svg_charts.RIGHT,
        "height": svg_charts.HEIGHT - svg_charts.TOP - svg_charts.BOTTOM,
    }
    page = package_files("pipelines.report").joinpath(_TEMPLATE).read_text(encoding="utf-8")
    page = (
        page.replace("@style@", style())
        .replace("@title@", escape(title(found)))
        .replace("@box@", json.dumps(box))
    )
    page = page.replace("@thresholds@", json.dumps(thresholds))
    return page.replace("@body@", "\n".join(part for part in body if part))


def title(found: dict[str, Any]) -> str:
    """The name of the page."""
    recipe = found["lineage"].get("bundle", {}).get("recipe")
    return f"How well {recipe} scores" if recipe else "How good the scores are"


def heading(found: dict[str, Any]) -> str:
    """Title, what was judged, and the warnings."""
    line = f"{found['rows']:,} labelled pairs"
    if found["rows_skipped"]:
        line += f", {found['rows_skipped']:,} more could not be judged"
    lines = "".join(f"<li>{escape(line)}</li>" for line in found["warnings"])
    box = f'<ul class="warnings">{lines}</ul>' if lines else ""
    origin = provenance.facts(found, line) + provenance.seen_in_training(found)
    return f"<h1>{escape(title(found))}</h1>{origin}{box}"


def headline(found: dict[str, Any]) -> str:
    """A card for each measure."""
    cards = "".join(
        f'<div class="card"><div class="name">{escape(readable(name))}</div>'
        f'<div class="value">{number(value)}</div>'
        f'<div class="range">{interval(found["intervals"].get(name))}</div></div>'
        for name, value in found["metrics"].items()
    )
    note = "Below each number: its 95 % bootstrap interval; pairs are treated as independent."
    return f'<div class="cards">{cards}</div><p class="soft">{note}</p>'


def readable(name: str) -> str:
    """A measure's name for people."""
    return NAMES.get(name, name.replace("_", " "))


def number(value: float | None) -> str:
    """A measure, or a dash where it has no meaning."""
    return "–" if value is None else f"{value:.3f}"


def interval(ends: Sequence[float | None] | None) -> str:
    """An interval, or nothing."""
    if not ends or ends[0] is None:
        return ""
    return f"{ends[0]:.3f} to {ends[1]:.3f}"


def confusion_section(found: dict[str, Any]) -> str:
    """Actual against given classes, and each class against the rest."""
    names = [escape(name) for name in found["classes"]]
    counts = found["confusion"]
    everything = sum(map(sum, counts))
    columns = [sum(column) for column in zip(*counts, strict=True)]
    rows = [
        [name, *(share(count, everything) for count in [*line, sum(line)])]
        for name, line in zip([*names, "all"], [*counts, columns], strict=True)
    ]
    matrix = table(["actual \\ given", *names, "all"], rows, words=(0,))
    measured = next(iter(found["classes_measured"].values()))
    rows = [
        [escape(name), *(cell(key, value) for key, value in measures.items())]
        for name, measures in found["classes_measured"].items()
    ]
    each = table(["class", *(readable(key) for key in measured)], rows, words=(0,))
    return f"<h2>Classes</h2>{matrix}<p></p>{each}"


def share(count: int, everything: int) -> str:
    """Rows, and what part of all they are."""
    return f"{count:,} ({count / max(everything, 1):.1%})"


def cell(name: str, value: float | None) -> str:
    """A number of a table."""
    return f"{value:,}" if name == "rows" else number(value)


def baseline_section(found: dict[str, Any]) -> str:
    """The model beside what needs no model."""
    measures = [name for name in found["metrics"] if name in IN_TABLES]
    rows = [["the model", *(number(found["metrics"][name]) for name in measures)]]
    for name, baseline in found["baselines"].items():
        label = f" (always {escape(str(baseline['label']))})" if "label" in baseline else ""
        cells = (number(baseline["metrics"].get(measure)) for measure in measures)
        rows.append([escape(name.replace("_", " ")) + label, *cells])
    if len(rows) == 1:
        return ""
    note = (
        "Without a model: always the most common label; and the sentence prior, which looks up "
        "the labels each sentence had in training and never compares the two."
    )
    heads = ["", *(readable(name) for name in measures)]
    return f'<h2>Baselines</h2><p class="soft">{note}</p>{table(heads, rows, words=(0,))}'


def slice_section(slices: list[dict[str, Any]]) -> str:
    """The measures of each slice."""
    if not slices:
        return ""
    measures = [name for name in slices[0]["metrics"] if name in IN_TABLES]
    rows = []
    for entry in slices:
        cells = [
            f"{number(entry['metrics'][name])}"
            f'<br><span class="range-small">{interval(entry["intervals"].get(name))}</span>'
            for name in measures
        ]
        rows.append([slice_name(entry), f"{entry['rows']:,}", *cells])
    heads = ["slice", "pairs", *(readable(name) for name in measures)]
    return f"<h2>Slices</h2>{table(heads, rows, words=(0,))}"


def slice_name(entry: dict[str, Any]) -> str:
    """What a slice is by, and its value."""
    by = f'<span class="range-small">{escape(entry["slice"])}</span>'
    few = ' <span class="tag">few pairs</span>' if entry["rows"] < FEW_ROWS else ""
    return f"{by}<br>{escape(entry['value'])}{few}"


def picture_section(picture: bytes | None) -> str:
    """The model's picture."""
    if picture is None:
        return ""
    data = base64.b64encode(picture).decode()
    return (
        "<h2>The model</h2><details><summary>Layers</summary>"
        f'<img class="picture" alt="layers of the model" src="data:image/png;base64,{data}">'
        "</details>"
    )


def lineage_section(found: dict[str, Any]) -> str:
    """Where the scores come from, and the data they were made of."""
    flat = list(provenance.flat({**found["lineage"], "evaluated with": found["versions"]}))
    rows = [[escape(name), escape(str(value))] for name, value in flat]
    return (
        f"<h2>Lineage and data</h2>{provenance.chain(found)}{table(['', ''], rows, words=(0, 1))}"
    )
