"""The section of a report that shows the greatest mistakes, and marks labels to doubt."""

from __future__ import annotations

import re
import unicodedata
from html import escape
from typing import Any

from pipelines.report.html_page import table

TWO_CLASS = ("false positives", "false negatives")


def worst_section(worst: dict[str, list[dict[str, Any]]]) -> str:
    """The greatest mistakes of each kind."""
    parts = []
    for kind, mistakes in worst.items():
        if not mistakes:
            continue
        ids = "id" in mistakes[0]
        # The name of a two-class mistake says what was true and what was predicted.
        more = (
            [] if kind in TWO_CLASS else [key for key in ("label", "given") if key in mistakes[0]]
        )
        rows = [
            [
                *([escape(str(one["id"]))] if ids else []),
                f"<div>{escape(one['sentence1'])}</div><div>{escape(one['sentence2'])}</div>"
                f"{doubt(one)}",
                f"{one['similarity']:.4f}",
                *(escape(str(one[key])) for key in more),
            ]
            for one in mistakes
        ]
        heads = [*(["id"] if ids else []), "pair", "similarity", *more]
        parts.append(
            f"<details open><summary><strong>{escape(kind)}</strong></summary>"
            f"{table(heads, rows, words=(0, 1) if ids else (0,))}</details>"
        )
    return f"<h2>The worst mistakes</h2>{''.join(parts)}" if parts else ""


def doubt(mistake: dict[str, Any]) -> str:
    """Marks a doubtful label: the sentences are as good as equal, and the label says otherwise."""
    if str(mistake.get("label")) != "0":
        return ""
    first, second = mistake["sentence1"], mistake["sentence2"]
    for reading, words in (
        (_spaced, "equal sentences"),
        (_letters, "equal except for punctuation"),
        (_words, "the same words in another order"),
    ):
        if reading(first) == reading(second):
            return f'<span class="tag">{words}: doubtful label</span>'
    return ""


def _spaced(text: str) -> str:
    """A sentence without what case, full-width forms and spaces change."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _letters(text: str) -> str:
    return re.sub(r"[\W_]+", "", _spaced(text)) or _spaced(text)


def _words(text: str) -> list[str]:
    """Its words in order; a sentence that is not spaced is one word."""
    return sorted(re.findall(r"\w+", _spaced(text))) or [_spaced(text)]
