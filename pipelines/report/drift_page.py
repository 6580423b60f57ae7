"""Draws the drift of a scoring run as one HTML file: what was trained on beside what was scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from transforms.drift import (
    KNOWN,
    LENGTH_ENDS,
    LENGTHS,
    LITTLE,
    MUCH,
    SIMILARITY,
    SIMILARITY_BINS,
    Profile,
    format_drift,
)

_TITLES = {
    LENGTHS: "Tokens of a sentence",
    KNOWN: "Tokens in the vocabulary",
    SIMILARITY: "Similarity",
}
_STEP, _HEIGHT = 28, 140  # SVG units: of a bin, and of the tallest bar

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Drift</title>
<style>
:root { --page: #f6f7f9; --ink: #1c2430; --soft: #5b6675; --before: #8d99a8; --now: #c8551b; }
@media (prefers-color-scheme: dark) {
  :root { --page: #12161c; --ink: #e6eaf0; --soft: #9aa6b5; --before: #6b7888; --now: #f0935c; }
}
body { margin: 0 auto; max-width: 50rem; padding: 1.25rem 1rem 3rem; background: var(--page);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin: 1.6rem 0 .3rem; }
.soft { color: var(--soft); font-size: .9rem; } svg { width: 100%; height: auto; }
.before { fill: var(--before); } .now { fill: var(--now); }
text { fill: var(--soft); font-size: 11px; text-anchor: middle; }
</style>
</head>
<body>
"""


def drift_page(trained: Profile, scored: Profile, found: Mapping[str, float]) -> str:
    """The page, for two profiles and the drift between them (see `transforms.drift`)."""
    parts = [
        _PAGE,
        f"<h1>{escape(format_drift(found).capitalize())}</h1>\n",
        '<p class="soft">Population stability index, less what chance gives samples of these '
        f"sizes: below {LITTLE} little has changed, above {MUCH} much. Bars are shares of all "
        'sentences, tokens or pairs; <span style="color: var(--before)">grey</span> what the '
        'bundle was trained on, <span style="color: var(--now)">orange</span> what was scored.'
        "</p>\n",
    ]
    for name, title in _TITLES.items():
        if name in found:
            parts.append(f"<h2>{title}: {found[name]:.3f}</h2>\n")
            parts.append(_chart(trained[name], scored[name], _names(name)))
    return "".join([*parts, "</body>\n</html>\n"])


def _names(histogram: str) -> list[str]:
    """What each bin holds."""
    if histogram == KNOWN:
        return ["known", "unknown"]
    if histogram == SIMILARITY:
        return [f"{place / SIMILARITY_BINS:.0%}" for place in range(SIMILARITY_BINS)]
    return [*(f"≤ {end}" for end in LENGTH_ENDS), f"> {LENGTH_ENDS[-1]}"]


def _chart(before: Sequence[int], now: Sequence[int], names: Sequence[str]) -> str:
    """Two bars a bin, as high as its share."""
    shares = [[count / max(sum(counts), 1) for count in counts] for counts in (before, now)]
    tallest = max(max(part) for part in shares) or 1.0
    wide = max(_STEP, 240 // len(names))
    drawn = []
    for place, name in enumerate(names):
        for side, (kind, part) in enumerate(zip(("before", "now"), shares, strict=True)):
            high = _HEIGHT * part[place] / tallest
            drawn.append(
                f'<rect class="{kind}" x="{wide * (place + 0.1 + 0.4 * side):.1f}" '
                f'y="{_HEIGHT - high:.1f}" width="{0.4 * wide:.1f}" height="{high:.1f}">'
                f"<title>{escape(name)}: {part[place]:.2%}</title></rect>"
            )
        drawn.append(
            f'<text x="{wide * (place + 0.5):.1f}" y="{_HEIGHT + 16}">{escape(name)}</text>'
        )
    box = f'viewBox="0 0 {wide * len(names)} {_HEIGHT + 24}"'
    return f'<svg {box} role="img">' + "".join(drawn) + "</svg>\n"
