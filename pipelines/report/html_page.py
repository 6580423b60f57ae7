"""The frame of every page without a script: one HTML file, one style sheet, nothing fetched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files as package_files

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
{style}
</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def style() -> str:
    """The style sheet of every page."""
    return package_files("pipelines.report").joinpath("style.css").read_text(encoding="utf-8")


def static_page(title: str, body: str) -> str:
    """A page; the title is text, the body HTML."""
    return _PAGE.format(title=escape(title), style=style(), body=body)


def fact_list(facts: Mapping[str, str]) -> str:
    """Names and values below a title; those without a value are left out."""
    lines = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items() if value
    )
    return f'<dl class="facts">{lines}</dl>'


def change_list(lines: Iterable[str]) -> str:
    """What changed, a line each."""
    return f'<ul class="changes">{"".join(f"<li>{escape(line)}</li>" for line in lines)}</ul>'


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, words: Sequence[int] = ()) -> str:
    """A table; cells are HTML already. Columns in `words` hold text, the others numbers."""
    style = ["words" if place in words else "number" for place in range(len(heads))]

    def line(tag: str, cells: Sequence[str]) -> str:
        inside = "".join(
            f'<{tag} class="{style[place]}">{cell}</{tag}>' for place, cell in enumerate(cells)
        )
        return f"<tr>{inside}</tr>"

    lines = line("th", heads) + "".join(line("td", row) for row in rows)
    return f'<div class="scroll"><table>{lines}</table></div>'
