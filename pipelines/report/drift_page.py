"""Draws the drift of a scoring run as one HTML file: what was trained on beside what was scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from pipelines.report.html_page import change_list, fact_list, static_page
from pipelines.report.svg_charts import paired_bars
from transforms.drift import (
    KNOWN,
    LENGTH_ENDS,
    LENGTHS,
    LITTLE,
    MUCH,
    SIMILARITY,
    SIMILARITY_BINS,
    Profile,
    drift_size,
    format_drift,
)

_TITLES = {LENGTHS: "Tokens of a sentence", SIMILARITY: "Similarity"}


def drift_page(
    trained: Profile, scored: Profile, found: Mapping[str, float], about: Mapping[str, str] = {}
) -> str:
    """The page.

    Args:
        trained: the profile of what the bundle was trained on (see `transforms.drift`).
        scored: that of what was scored.
        found: the drift between them.
        about: against which bundle, when, and whatever else is to be named.
    """
    charts = "".join(
        f'<figure class="card"><h3>{title}: {found[name]:.3f}</h3>'
        f"{_chart(title, trained[name], scored[name], _names(name))}</figure>"
        for name, title in _TITLES.items()
        if name in found
    )
    body = (
        f"<h1>{escape(format_drift(found).capitalize())}</h1>"
        f"{fact_list(about)}{change_list(changes(trained, scored, found))}"
        f'<div class="charts">{charts}</div>'
        '<p class="soft">Population stability index, less what chance gives samples of these '
        f"sizes: below {LITTLE} little has changed, above {MUCH} much. Bars are shares of all "
        "sentences or pairs.</p>"
    )
    return static_page("Drift", body)


def changes(trained: Profile, scored: Profile, found: Mapping[str, float]) -> list[str]:
    """What changed, a sentence for each measure."""
    lines = []
    if KNOWN in found:
        before, now = (_share(counts, 1) for counts in (trained[KNOWN], scored[KNOWN]))
        lines.append(
            f"{_size(found[KNOWN])} change of unknown tokens: {now:.2%} of all tokens are not in "
            f"the vocabulary, {before:.2%} in training"
        )
    if LENGTHS in found:
        before, now = (_median(counts) for counts in (trained[LENGTHS], scored[LENGTHS]))
        names = _names(LENGTHS)
        lines.append(
            f"{_size(found[LENGTHS])} change of length: half of the sentences have "
            f"{names[now]} tokens, in training {names[before]}"
        )
    if SIMILARITY in found:
        before, now = (_share_from(counts) for counts in (trained[SIMILARITY], scored[SIMILARITY]))
        lines.append(
            f"{_size(found[SIMILARITY])} change of similarity: {now:.1%} of the pairs are in the "
            f"upper half of its range, {before:.1%} in training"
        )
    return lines


def _size(index: float) -> str:
    return drift_size(index).capitalize()


def _share(counts: Sequence[int], place: int) -> float:
    return counts[place] / max(sum(counts), 1)


def _share_from(counts: Sequence[int]) -> float:
    return sum(counts[len(counts) // 2 :]) / max(sum(counts), 1)


def _median(counts: Sequence[int]) -> int:
    """The bin in which the middle one of all is."""
    middle, seen = sum(counts) / 2, 0
    for place, count in enumerate(counts):
        seen += count
        if seen >= middle:
            return place
    return 0


def _names(histogram: str) -> list[str]:
    """What each bin holds."""
    if histogram == SIMILARITY:
        return [f"{place / SIMILARITY_BINS:.0%}" for place in range(SIMILARITY_BINS)]
    return [*(f"≤ {end}" for end in LENGTH_ENDS), f"> {LENGTH_ENDS[-1]}"]


def _chart(title: str, before: Sequence[int], now: Sequence[int], names: Sequence[str]) -> str:
    shares = [[count / max(sum(counts), 1) for count in counts] for counts in (before, now)]
    series = [("in training", "before", shares[0]), ("scored", "one", shares[1])]
    return paired_bars(title, names, series, "share")
