"""The sections of a report that are drawn: threshold, curves, distribution, training."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from pipelines.report.svg_charts import Axes, Line, Point, bar_chart, heat_map, line_chart


def threshold_section(found: dict[str, Any]) -> str:
    """The slider and the confusion at its threshold."""
    start = start_of_slider(found)
    last = len(thresholds(found)) - 1
    zero, one = (escape(name) for name in found["classes"])
    return (
        '<h2>Threshold</h2><div class="card"><div class="slider">'
        f'<label for="threshold">label {one} from</label>'
        f'<input id="threshold" type="range" min="0" max="{last}" value="{start}">'
        '<output id="threshold-value" for="threshold"></output>'
        '<button id="threshold-reset" type="button">back</button></div>'
        '<div class="cards">'
        + "".join(
            f'<div><div class="soft">{name}</div><strong id="at-{name.lower()}">–</strong></div>'
            for name in ("accuracy", "precision", "recall", "F1")
        )
        + '</div><p></p><div class="scroll"><table>'
        f'<tr><th>actual \\ given</th><th class="number">{zero}</th>'
        f'<th class="number">{one}</th><th class="number">all</th></tr>'
        f'<tr><th>{zero}</th><td class="number right" id="tn"></td>'
        '<td class="number" id="fp"></td><td class="number" id="actual-0"></td></tr>'
        f'<tr><th>{one}</th><td class="number" id="fn"></td>'
        '<td class="number right" id="tp"></td><td class="number" id="actual-1"></td></tr>'
        '<tr><th>all</th><td class="number" id="given-0"></td>'
        '<td class="number" id="given-1"></td><td class="number" id="all"></td></tr>'
        "</table></div></div>"
    )


def used_threshold(found: dict[str, Any]) -> float | None:
    """The threshold that the labels were given by, as it is stored; None if it is unknown."""
    lineage = found["lineage"]
    scoring = lineage.get("scores", {}).get("options", {}).get("scoring", {})
    used = (
        found.get("made_from", {}).get("threshold"),
        scoring.get("threshold"),
        lineage.get("bundle", {}).get("threshold"),
    )
    return next((value for value in used if value is not None), None)


def thresholds(found: dict[str, Any]) -> list[list[float]]:
    """Threshold, true and false negatives, false and true positives: the grid, and the used one.

    The counts at the used threshold are those of the labels that were given, so the page starts
    with the same numbers as its other parts.
    """
    table: list[list[float]] = [list(entry.values()) for entry in found.get("thresholds", [])]
    used = used_threshold(found)
    if table and used is not None:
        (true_neg, false_pos), (false_neg, true_pos) = found["confusion"]
        keys = list(found["thresholds"][0])[1:]
        counts = {
            "true_neg": true_neg, "false_pos": false_pos,
            "false_neg": false_neg, "true_pos": true_pos,
        }  # fmt: skip
        table = [row for row in table if row[0] != used]
        table.append([used, *(counts[key] for key in keys)])
    return sorted(table)


def start_of_slider(found: dict[str, Any]) -> int:
    """Where the slider starts: at the threshold that scoring used, else next to 0.5."""
    used = used_threshold(found)
    distance = [abs(row[0] - (0.5 if used is None else used)) for row in thresholds(found)]
    return distance.index(min(distance))


def chart_section(found: dict[str, Any]) -> str:
    """The curves of the task."""
    if "thresholds" in found:
        drawn = [roc(found), precision_recall(found), calibration(found), distribution(found)]
    elif "scatter" in found:
        drawn = [scatter(found["scatter"])]
    else:
        return ""
    figures = "".join(
        f'<figure class="card"><h3>{name}</h3>{svg}<figcaption>{note}</figcaption></figure>'
        for name, svg, note in drawn
    )
    return f'<h2>Curves</h2><div class="charts">{figures}</div>'


def roc_points(found: dict[str, Any]) -> list[Point]:
    """False positive rate and true positive rate at each threshold, those without meaning out."""
    return [
        (entry["false_pos"] / zeros, entry["true_pos"] / ones)
        for entry in found["thresholds"]
        if (zeros := entry["false_pos"] + entry["true_neg"])
        and (ones := entry["true_pos"] + entry["false_neg"])
    ]


def pr_points(found: dict[str, Any]) -> list[Point]:
    """Recall and precision at each threshold, those without meaning out."""
    return [
        (entry["true_pos"] / ones, entry["true_pos"] / called)
        for entry in found["thresholds"]
        if (called := entry["true_pos"] + entry["false_pos"])
        and (ones := entry["true_pos"] + entry["false_neg"])
    ]


def roc(found: dict[str, Any]) -> tuple[str, str, str]:
    """The ROC curve."""
    axes = Axes("false positive rate", "true positive rate")
    line = Line("ROC", "accent", roc_points(found))
    svg = line_chart("ROC curve", [line], axes, diagonal=True, marker="roc-dot")
    return "ROC", svg, "Dashed: chance. The dot is the threshold above."


def precision_recall(found: dict[str, Any]) -> tuple[str, str, str]:
    """The precision–recall curve."""
    line = Line("PR", "accent", pr_points(found))
    axes = Axes("recall", "precision")
    svg = line_chart("precision-recall curve", [line], axes, marker="pr-dot")
    return "Precision and recall", svg, "The dot is the threshold above."


def calibration(found: dict[str, Any]) -> tuple[str, str, str]:
    """Mean similarity against the share of similar pairs."""
    points = [(entry["mean_similarity"], entry["share_alike"]) for entry in found["calibration"]]
    line = Line("calibration", "accent", points, dots=True)
    axes = Axes("mean similarity", "share of pairs with label 1")
    svg = line_chart("calibration", [line], axes, diagonal=True)
    return "Calibration", svg, "On the dashed line a similarity is a probability."


def distribution(found: dict[str, Any]) -> tuple[str, str, str]:
    """Similarities by label."""
    zeros, ones = found["distribution"]
    top = max(*zeros, *ones, 1)
    series = [
        (f"label {name}", style, bars)
        for name, style, bars in zip(found["classes"], ("zero", "one"), (zeros, ones), strict=True)
    ]
    axes = Axes("similarity", "pairs", y=(0, top))
    svg = bar_chart("similarities by label", series, axes, marker="cut-line")
    return "Similarities by label", svg, "Dashed: the threshold above."


def scatter(grid: dict[str, Any]) -> tuple[str, str, str]:
    """Similarity against label, as a heat map."""
    axes = Axes("similarity", "label", tuple(grid["score_range"]), tuple(grid["label_range"]))
    svg = heat_map("similarity against label", grid["rows"], axes)
    return "Similarity and label", svg, "Darker: more pairs."


def training_section(history: Sequence[dict[str, Any]]) -> str:
    """Loss and quality by epoch, as far as the history has them."""
    if len(history) < 2:
        return ""
    figures = []
    quality = quality_keys(history[0])
    measure = quality[-1].replace("_", " ") if quality else ""
    for name, keys in (("loss", ("loss", "eval_loss")), (measure, quality)):
        lines = [
            Line(key.replace("_", " "), style, [(n, float(v)) for n, v in series(history, key)])
            for key, style in zip(keys, ("zero", "one"), strict=False)
            if series(history, key)
        ]
        if lines:
            values = [y for line in lines for _, y in line.points]
            axes = Axes("epoch", name, (1, len(history)), (min(values), max(values)))
            svg = line_chart(f"{name} by epoch", lines, axes)
            figures.append(f'<figure class="card"><h3>{name}</h3>{svg}</figure>')
    if not figures:
        return ""
    return f'<h2>Training</h2><div class="charts">{"".join(figures)}</div>'


def quality_keys(record: dict[str, Any]) -> tuple[str, ...]:
    """The measures of an epoch, without loss, time and speed."""
    found = (key for key in record if key.endswith(("accuracy", "pearson")))
    return tuple(sorted(found, key=lambda key: key.startswith("eval_")))[:2]


def series(history: Sequence[dict[str, Any]], key: str) -> list[tuple[int, float]]:
    """Epoch and value where an epoch has the value."""
    return [
        (number, record[key])
        for number, record in enumerate(history, 1)
        if isinstance(record.get(key), int | float)
    ]
