"""The report's charts as PNG files, for slides and papers; needs matplotlib."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipelines.report.chart_sections import pr_points, roc_points

PLOTS = ("roc.png", "precision_recall.png", "calibration.png", "distribution.png", "scatter.png",
         "confusion.png")  # fmt: skip
ZERO, ONE, ACCENT = "#2f6db3", "#c8551b", "#14796b"


def write_plots(folder: Path, found: dict[str, Any]) -> None:
    """Writes the plots that the task has; none, with a note, where matplotlib is missing."""
    if find_spec("matplotlib") is None:
        logging.getLogger(__name__).warning("no PNG plots: matplotlib is not installed")
        return
    if "thresholds" in found:
        rates = "false positive rate", "true positive rate"
        _curve(folder / "roc.png", "ROC", roc_points(found), *rates)
        name = "Precision and recall"
        _curve(folder / "precision_recall.png", name, pr_points(found), "recall", "precision")
        _calibration(folder / "calibration.png", found["calibration"])
        _distribution(folder / "distribution.png", found)
    elif "scatter" in found:
        _scatter(folder / "scatter.png", found["scatter"])
    else:
        _confusion(folder / "confusion.png", found)


def _figure(title: str, x_name: str, y_name: str) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)  # never a window, whatever the machine's default is
    axes = figure.add_subplot()
    axes.set(title=title, xlabel=x_name, ylabel=y_name)
    axes.grid(alpha=0.3)
    return figure, axes


def _curve(
    path: Path, title: str, points: list[tuple[float, float]], x_name: str, y_name: str
) -> None:
    figure, axes = _figure(title, x_name, y_name)
    axes.plot(*zip(*points, strict=True) if points else ([], []), color=ACCENT)
    axes.set(xlim=(0, 1), ylim=(0, 1.01))
    figure.savefig(path)


def _calibration(path: Path, entries: list[dict[str, float]]) -> None:
    figure, axes = _figure("Calibration", "mean similarity", "share of pairs with label 1")
    axes.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=1)
    x, y = ([entry[key] for entry in entries] for key in ("mean_similarity", "share_alike"))
    axes.plot(x, y, marker="o", color=ACCENT)
    figure.savefig(path)


def _distribution(path: Path, found: dict[str, Any]) -> None:
    figure, axes = _figure("Similarities by label", "similarity", "pairs")
    for name, bars, colour in zip(
        found["classes"], found["distribution"], (ZERO, ONE), strict=True
    ):
        steps = [(number + 0.5) / len(bars) for number in range(len(bars))]
        axes.bar(steps, bars, 1 / len(bars), alpha=0.6, color=colour, label=f"label {name}")
    axes.legend()
    figure.savefig(path)


def _scatter(path: Path, grid: dict[str, Any]) -> None:
    figure, axes = _figure("Similarity and label", "similarity", "label")
    rows = [list(column) for column in zip(*grid["rows"], strict=True)]
    extent = (*grid["score_range"], *grid["label_range"])
    axes.imshow(rows, origin="lower", aspect="auto", extent=extent, cmap="Greens")
    figure.savefig(path)


def _confusion(path: Path, found: dict[str, Any]) -> None:
    figure, axes = _figure("Confusion", "given", "actual")
    axes.grid(visible=False)
    axes.imshow(found["confusion"], cmap="Greens")
    ticks = range(len(found["classes"]))
    axes.set_xticks(ticks, found["classes"])
    axes.set_yticks(ticks, found["classes"])
    for row, line in enumerate(found["confusion"]):
        for column, count in enumerate(line):
            axes.text(column, row, f"{count:,}", ha="center", va="center")
    figure.savefig(path)
