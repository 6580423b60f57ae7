"""Small charts as inline SVG; their colours come from the page, so they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

Point = tuple[float, float]
WIDTH, HEIGHT = 360, 280
LEFT, TOP, RIGHT, BOTTOM = 52, 12, 10, 44
MOST_WORDS, MOST_CHARACTERS = 4, 12  # of places with longer names
MOST_NAMES = 7  # of bins below a chart: more would overlap


@dataclass(frozen=True)
class Line:
    """A named line; `style` is a class of the page's style sheet."""

    name: str
    style: str
    points: Sequence[Point]
    dots: bool = False


@dataclass(frozen=True)
class Axes:
    """Ranges and names of the two axes."""

    x_name: str
    y_name: str
    x: tuple[float, float] = (0.0, 1.0)
    y: tuple[float, float] = (0.0, 1.0)

    def at(self, point: Point) -> Point:
        """A point's place in the picture."""
        x, y = (
            (value - low) / ((high - low) or 1.0)
            for value, (low, high) in zip(point, (self.x, self.y), strict=True)
        )
        return (
            round(LEFT + x * (WIDTH - LEFT - RIGHT), 1),
            round(HEIGHT - BOTTOM - y * (HEIGHT - TOP - BOTTOM), 1),
        )


def line_chart(
    name: str, lines: Sequence[Line], axes: Axes, *, diagonal: bool = False, marker: str = ""
) -> str:
    """Lines over two axes.

    Args:
        name: what the chart shows, for those who cannot see it, and its legend.
        lines: what is drawn.
        axes: where it is drawn.
        diagonal: whether to draw the line of chance or of perfect calibration.
        marker: id of a dot that the page's script moves.
    """
    inside = []
    if diagonal:
        inside.append(_path([(axes.x[0], axes.y[0]), (axes.x[1], axes.y[1])], axes, "faint"))
    for line in lines:
        inside.append(_path(line.points, axes, line.style))
        if line.dots:
            spots = (axes.at(point) for point in line.points)
            inside += [f'<circle class="{line.style}" cx="{x}" cy="{y}" r="3"/>' for x, y in spots]
    if marker:
        inside.append(f'<circle id="{marker}" class="marker" r="5" cx="-9" cy="-9"/>')
    legend = [(line.name, line.style) for line in lines] if len(lines) > 1 else []
    return _svg(name, inside, axes, legend)


def _path(points: Sequence[Point], axes: Axes, style: str) -> str:
    places = " ".join(f"{x},{y}" for x, y in map(axes.at, points))
    return f'<polyline class="line {style}" points="{places}"/>'


def paired_bars(
    name: str, bins: Sequence[str], series: Sequence[tuple[str, str, Sequence[float]]], y_name: str
) -> str:
    """Bars of each bin side by side; of many bins only some are named, so that names stay apart.

    Args:
        name: what the chart shows, for those who cannot see it.
        bins: what each bin holds.
        series: (name, style, height of each bin).
        y_name: what the heights are.
    """
    top = max((height for _, _, heights in series for height in heights), default=0) or 1.0
    axes = Axes("", y_name, (0, len(bins)), (0, top))
    wide, inside = 0.84 / max(len(series), 1), []
    for side, (label, style, heights) in enumerate(series):
        for place, height in enumerate(heights):
            x, y = axes.at((place + 0.08 + wide * side, height))
            end, floor = axes.at((place + 0.08 + wide * (side + 1), 0))
            size = f'width="{end - x:.1f}" height="{floor - y:.1f}"'
            title = f"<title>{escape(label)}, {escape(bins[place])}: {height:.2%}</title>"
            inside.append(f'<rect class="bar {style}" x="{x}" y="{y}" {size}>{title}</rect>')
    every = -(-len(bins) // MOST_NAMES)
    for place in range(0, len(bins), every):
        x, floor = axes.at((place + 0.5, 0))
        inside.append(f'<text class="tick" x="{x}" y="{floor + 15}">{escape(bins[place])}</text>')
    return _svg(name, inside, axes, [(label, style) for label, style, _ in series], x_ticks=False)


def named_lines(
    name: str,
    names: Sequence[str],
    lines: Sequence[Line],
    axes: Axes,
    *,
    levels: Sequence[float] = (),
) -> str:
    """Lines over places 0, 1, … that have names; of many only some are named.

    Args:
        name: what the chart shows, for those who cannot see it.
        names: of the places.
        lines: what is drawn; its points' first number is the place.
        axes: where it is drawn.
        levels: heights at which a faint line goes across.
    """
    inside = [_path([(axes.x[0], y), (axes.x[1], y)], axes, "faint") for y in levels]
    for line in lines:
        inside.append(_path(line.points, axes, line.style))
        for place, height in line.points:
            x, y = axes.at((place, height))
            title = f"<title>{escape(line.name)}, {escape(names[int(place)])}: {height:.3f}</title>"
            inside.append(f'<circle class="{line.style}" cx="{x}" cy="{y}" r="3">{title}</circle>')
    last, gaps = len(names) - 1, min(MOST_WORDS, len(names)) - 1
    for place in sorted({round(last * gap / max(gaps, 1)) for gap in range(gaps + 1)}):
        x, floor = axes.at((place, axes.y[0]))
        inside.append(_tick(x, floor, _cut(names[place]), place == 0, place == last))
    legend = [(line.name, line.style) for line in lines] if len(lines) > 1 else []
    return _svg(name, inside, axes, legend, x_ticks=False)


def _tick(x: float, floor: float, text: str, first: bool, last: bool) -> str:
    """A name below its place, within the picture at both ends."""
    side = " start" if first else " end" if last else ""
    return f'<text class="tick{side}" x="{x}" y="{floor + 15}">{escape(text)}</text>'


def _cut(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else f"…{text[1 - MOST_CHARACTERS :]}"


def bar_chart(
    name: str, series: Sequence[tuple[str, str, Sequence[int]]], axes: Axes, *, marker: str = ""
) -> str:
    """Bars of (name, style, heights) that overlap, in equal steps of the x axis."""
    inside = []
    for _, style, heights in series:
        step = (axes.x[1] - axes.x[0]) / len(heights)
        for number, height in enumerate(heights):
            if height:
                x, y = axes.at((axes.x[0] + number * step, height))
                end, floor = axes.at((axes.x[0] + (number + 1) * step, axes.y[0]))
                size = f'width="{end - x:.1f}" height="{floor - y:.1f}"'
                inside.append(f'<rect class="bar {style}" x="{x}" y="{y}" {size}/>')
    if marker:
        inside.append(
            f'<line id="{marker}" class="cut" x1="-9" x2="-9" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        )
    return _svg(name, inside, axes, [(label, style) for label, style, _ in series])


def heat_map(name: str, rows: Sequence[Sequence[int]], axes: Axes) -> str:
    """Counts [x][y] as darker and lighter squares."""
    most, inside = max(max(column) for column in rows) or 1, []
    x_step = (axes.x[1] - axes.x[0]) / len(rows)
    y_step = (axes.y[1] - axes.y[0]) / len(rows[0])
    for i, column in enumerate(rows):
        for j, count in enumerate(column):
            if count:
                x, top = axes.at((axes.x[0] + i * x_step, axes.y[0] + (j + 1) * y_step))
                end, floor = axes.at((axes.x[0] + (i + 1) * x_step, axes.y[0] + j * y_step))
                size = f'width="{end - x:.1f}" height="{floor - top:.1f}"'
                shade = f'opacity="{0.15 + 0.85 * count / most:.2f}"'
                inside.append(f'<rect class="heat" x="{x}" y="{top}" {size} {shade}/>')
    return _svg(name, inside, axes, [])


def _svg(
    name: str,
    inside: list[str],
    axes: Axes,
    legend: list[tuple[str, str]],
    *,
    x_ticks: bool = True,
) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(name)}">'
        f"{_grid(axes, x_ticks)}{''.join(inside)}</svg>{_legend(legend)}"
    )


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers from `low` to `high`, multiples of 1, 2 or 5 of a power of 10.

    Where the ends are equal, that one number.
    """
    if not high > low:
        return [low]
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    fits = (step * power for step in (1, 2, 5, 10, 20) if (high - low) / (step * power) <= most)
    step = next(fits)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(place * step, 12) for place in range(first, last + 1)]


def _grid(axes: Axes, x_ticks: bool) -> str:
    drawn = []
    for value in ticks(*axes.x) if x_ticks else ():
        x, floor = axes.at((value, axes.y[0]))
        drawn.append(f'<text class="tick" x="{x}" y="{floor + 15}">{_short(value)}</text>')
    for value in ticks(*axes.y):
        left, y = axes.at((axes.x[0], value))
        drawn.append(f'<line class="grid" x1="{left}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        drawn.append(f'<text class="tick end" x="{left - 6}" y="{y + 4}">{_short(value)}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    drawn.append(f'<text class="axis" x="{middle}" y="{HEIGHT - 8}">{escape(axes.x_name)}</text>')
    y = (TOP + HEIGHT - BOTTOM) / 2
    drawn.append(
        f'<text class="axis" transform="translate(11 {y}) rotate(-90)">{escape(axes.y_name)}</text>'
    )
    return "".join(drawn)


def _short(value: float) -> str:
    if abs(value) >= 1_000_000:
        return f"{value / 1_000_000:g}M"
    if abs(value) >= 10_000:
        return f"{value / 1_000:.3g}k"
    return f"{value:.3g}"


def _legend(entries: list[tuple[str, str]]) -> str:
    """Names and colours below the chart, where no bar is."""
    if not entries:
        return ""
    drawn = (
        f'<span><svg viewBox="0 0 10 10" aria-hidden="true"><rect class="key {style}" width="10" '
        f'height="10"/></svg>{escape(name)}</span>'
        for name, style in entries
    )
    return f'<div class="legend">{"".join(drawn)}</div>'
