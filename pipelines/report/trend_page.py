"""Draws the drift of several scoring runs, night after night, as one HTML file."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from pipelines.report.html_page import change_list, fact_list, static_page, table
from pipelines.report.svg_charts import Axes, Line, named_lines
from transforms.drift import KNOWN, LENGTHS, LITTLE, MUCH, SIMILARITY, drift_size

NAMES = {KNOWN: "unknown tokens", LENGTHS: "sentence length", SIMILARITY: "similarity"}
_STYLES = {KNOWN: "one", LENGTHS: "zero", SIMILARITY: "accent"}
_MANY_REJECTED = 2.0  # times as many as in the nights before are worth a line


@dataclass(frozen=True)
class Night:
    """A scoring run.

    Attributes:
        folder: of its scores.
        name: its name in charts: its day, or its folder.
        bundle: fingerprint of the bundle that scored.
        rows: that were read.
        rejected: rows among them that were not scored.
        drift: by measure, from the training data (see `transforms.drift`).
    """

    folder: str
    name: str
    bundle: str
    rows: int
    rejected: int
    drift: dict[str, float]

    @property
    def reject_share(self) -> float:
        """The share of rows that were not scored."""
        return self.rejected / max(self.rows, 1)


def trend_page(nights: Sequence[Night]) -> str:
    """The page of at least one night, the latest last."""
    facts = {
        "nights": f"{len(nights)}: {nights[0].name} to {nights[-1].name}",
        "pairs": f"{sum(night.rows for night in nights):,}",
        "bundles": ", ".join(dict.fromkeys(night.bundle[:8] for night in nights)),
    }
    body = (
        f"<h1>{escape(headline(nights))}</h1>{fact_list(facts)}{change_list(changes(nights))}"
        f'<div class="charts">{_drift_chart(nights)}{_reject_chart(nights)}</div>'
        f"<h2>Nights</h2>{_nights(nights)}"
        '<p class="soft">Drift is the population stability index against what the bundle was '
        f"trained on, less what chance gives: below {LITTLE} little has changed, above {MUCH} "
        "much. Each night's own page draws its histograms.</p>"
    )
    return static_page("Drift over nights", body)


def headline(nights: Sequence[Night]) -> str:
    """The last night's drift in a line."""
    last = nights[-1]
    if "drift" not in last.drift:
        return f"Drift of {last.name}: unknown"
    return f"Drift of {last.name}: {drift_size(last.drift['drift'])}, {last.drift['drift']:.3f}"


def changes(nights: Sequence[Night]) -> list[str]:
    """What is other in the last night than in those before, a line each."""
    *before, last = nights
    lines = []
    for name, called in NAMES.items():
        known = [night.drift[name] for night in before if name in night.drift]
        if name in last.drift and known:
            usual = statistics.median(known)
            lines.append(
                f"{called}: {last.drift[name]:.3f} ({drift_size(last.drift[name])}); median of the "
                f"{len(known)} nights before: {usual:.3f} ({drift_size(usual)})"
            )
    if before:
        usual = statistics.median(night.reject_share for night in before)
        if last.reject_share > _MANY_REJECTED * usual:
            lines.append(f"rejected rows: {last.reject_share:.2%}; median before: {usual:.2%}")
    lines += [
        f"{later.name}: another bundle, {later.bundle[:8]}; its drift is from other training data"
        for earlier, later in pairwise(nights)
        if earlier.bundle != later.bundle
    ]
    return lines


def _drift_chart(nights: Sequence[Night]) -> str:
    lines = [
        Line(
            called,
            _STYLES[name],
            [(n, x.drift[name]) for n, x in enumerate(nights) if name in x.drift],
            dots=True,
        )
        for name, called in NAMES.items()
    ]
    lines = [line for line in lines if line.points]
    top = max([MUCH, *(y for line in lines for _, y in line.points)])
    axes = Axes("", "drift", (0, max(len(nights) - 1, 1)), (0, top * 1.05))
    names = [night.name for night in nights]
    drawn = named_lines("Drift by night", names, lines, axes, levels=(LITTLE, MUCH))
    return f'<figure class="card"><h3>Drift</h3>{drawn}</figure>'


def _reject_chart(nights: Sequence[Night]) -> str:
    points = [(float(n), 100 * night.reject_share) for n, night in enumerate(nights)]
    top = max(1.0, *(y for _, y in points)) * 1.05
    axes = Axes("", "% of rows", (0, max(len(nights) - 1, 1)), (0, top))
    line = Line("rejected", "one", points, dots=True)
    drawn = named_lines("Rejected rows by night", [n.name for n in nights], [line], axes)
    return f'<figure class="card"><h3>Rejected rows</h3>{drawn}</figure>'


def _nights(nights: Sequence[Night]) -> str:
    measures = [name for name in NAMES if any(name in night.drift for night in nights)]
    rows = [
        [
            escape(night.name),
            f"{night.rows:,}",
            f"{night.reject_share:.2%}",
            *(_number(night.drift.get(name)) for name in measures),
            escape(night.bundle[:8]),
            escape(night.folder),
        ]
        for night in reversed(nights)
    ]
    heads = ["night", "pairs", "rejected", *(NAMES[name] for name in measures), "bundle", "scores"]
    return table(heads, rows, words=(0, len(heads) - 2, len(heads) - 1))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
