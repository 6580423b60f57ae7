"""Small charts as inline SVG; their colours come from the page, so they follow light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

Point = tuple[float, float]
WIDTH, HEIGHT = 360, 280
LEFT, TOP, RIGHT, BOTTOM = 52, 12, 10, 44


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


def bar_chart(
    name: str, series: Sequence[tuple[str, str, Sequence[int]]], axes: Axes, *, marker: str = ""
) -> str:
    """Bars of (name, style, heights) that lie over one another, in equal steps of the x axis."""
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


def _svg(name: str, inside: list[str], axes: Axes, legend: list[tuple[str, str]]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(name)}">'
        f"{_grid(axes)}{''.join(inside)}{_legend(legend)}</svg>"
    )


def _grid(axes: Axes) -> str:
    drawn = []
    for tick in range(5):
        part = tick / 4
        value = axes.x[0] + part * (axes.x[1] - axes.x[0])
        x, floor = axes.at((value, axes.y[0]))
        drawn.append(f'<text class="tick" x="{x}" y="{floor + 15}">{_short(value)}</text>')
        value = axes.y[0] + part * (axes.y[1] - axes.y[0])
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
    drawn = []
    for number, (name, style) in enumerate(entries):
        y = TOP + 12 + 16 * number
        right = WIDTH - RIGHT - 6
        drawn.append(
            f'<rect class="key {style}" x="{right - 10}" y="{y - 9}" width="10" height="10"/>'
            f'<text class="tick end" x="{right - 15}" y="{y}">{escape(name)}</text>'
        )
    return "".join(drawn)
