"""Suspect labels, as sections of an evaluation's report and as a separate page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.report.html_page import static_page
from transforms.errors import UserError
from transforms.storage import files
from transforms.storage.parquet import read_table

DOUBTS, TRIANGLES, SUMMARY = "doubts.parquet", "triangles.parquet", "doubts.json"
SAME, ALSO_SAME, NOT_SAME = "same", "also_same", "but_not_same"
_SHOWN = ("row", "sentence1", "sentence2", "label", "doubt", "contradictions")


def read_doubts(folder: str, most: int) -> dict[str, Any]:
    """What a report shows of what `twinbeam doubts` wrote: plain JSON.

    Args:
        folder: its --output.
        most: rows of each table; with 0 there are counts and no sentence.

    Raises:
        UserError: it is not such a folder.
    """
    path = files.join(folder, SUMMARY)
    if not files.exists(path):
        raise UserError(
            f"--doubts {folder} holds no {SUMMARY}; expected the --output of twinbeam doubts"
        )
    ranked, triangles = (read_table(files.join(folder, name)) for name in (DOUBTS, TRIANGLES))
    return shown_doubts(files.read_json(path), ranked, triangles, most)


def shown_doubts(
    summary: Mapping[str, Any], ranked: pa.Table, triangles: pa.Table, most: int
) -> dict[str, Any]:
    """The counts, and the first rows of each table with their sentences.

    Args:
        summary: the content of doubts.json.
        ranked: all labelled pairs, the most doubtful first.
        triangles: contradictions by the names of their three rows.
        most: rows of each table.
    """
    apart = ranked.filter(ranked.column("labelled_apart"))
    first = triangles.slice(0, most)
    chunks = [chunk for column in first.columns for chunk in column.chunks]
    names = pa.chunked_array(chunks, pa.string())
    known = ranked.filter(pc.is_in(ranked.column("row"), value_set=names.combine_chunks()))
    by_name = {each["row"]: each for each in known.select(list(_SHOWN)).to_pylist()}
    return {
        "key": summary["key"],
        "counts": {name: value for name, value in summary.items() if name != "key"},
        "first": ranked.slice(0, most).select(list(_SHOWN)).to_pylist(),
        "apart": apart.slice(0, most).select(list(_SHOWN)).to_pylist(),
        "triangles": [
            [by_name[each[name]] for name in (SAME, ALSO_SAME, NOT_SAME)]
            for each in first.to_pylist()
        ],
    }


def doubts_page(shown: Mapping[str, Any]) -> str:
    """The page of `twinbeam doubts`.

    Args:
        shown: see `shown_doubts`.
    """
    return static_page("Suspect labels", f"<h1>Suspect labels</h1>{_sections(shown)}")


def doubts_section(shown: Mapping[str, Any] | None) -> str:
    """The part of an evaluation's report; empty without doubts."""
    return f"<h2>Suspect labels</h2>{_sections(shown)}" if shown else ""


def format_counts(counts: Mapping[str, Any]) -> str:
    """The counts as a sentence."""
    return (
        f"{counts['rows']:,} labels: {counts['doubt_over_half']:,} more likely wrong than right, "
        f"{counts['in_contradictions']:,} in a contradiction, {counts['labelled_apart']:,} of "
        "equal sentences with different labels"
    )


def _sections(shown: Mapping[str, Any]) -> str:
    parts = [f'<p class="soft">{escape(format_counts(shown["counts"]))}</p>']
    parts += [
        _part(title, note, [_cells(row) for row in shown[name]])
        for name, title, note in (
            ("first", "Most likely wrong", "By a model that was not fitted on the label."),
            (
                "apart",
                "Equal sentences with different labels",
                "The two labels cannot both be right.",
            ),
        )
    ]
    rows = [cells for triangle in shown["triangles"] for cells in _triangle(triangle)]
    note = "Two pairs are the same, so the third has to be: one of the three labels is wrong."
    parts.append(_part("Contradictions", note, rows))
    return "".join(parts)


def _part(title: str, note: str, rows: Sequence[str]) -> str:
    if not rows:
        return ""
    heads = "".join(
        f'<th class="{style}">{head}</th>'
        for head, style in (
            ("row", "words"), ("pair", "words"), ("label", "number"), ("doubt", "number"),
            ("contradictions", "number"),
        )
    )  # fmt: skip
    lines = "".join(f"<tr>{cells}</tr>" for cells in rows)
    return (
        f"<details open><summary><strong>{title}</strong></summary>"
        f'<p class="soft">{note}</p><div class="scroll"><table><tr>{heads}</tr>{lines}</table>'
        "</div></details>"
    )


def _cells(row: Mapping[str, Any], tag: str = "") -> str:
    pair = "".join(
        f'<div dir="auto">{escape(row[side])}</div>' for side in ("sentence1", "sentence2")
    )
    mark = f' <span class="tag">{tag}</span>' if tag else ""
    return (
        f'<td class="words">{escape(str(row["row"]))}{mark}</td><td class="words">{pair}</td>'
        f'<td class="number">{row["label"]}</td><td class="number">{row["doubt"]:.3f}</td>'
        f'<td class="number">{row["contradictions"]}</td>'
    )


def _triangle(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Three lines; the last is the pair that is labelled different."""
    return [_cells(row, tag) for row, tag in zip(rows, ("", "", "not the same?"), strict=True)]
