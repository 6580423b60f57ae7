"""Judges a model by the answers that people gave."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipelines.labelling.choice_folder import CHOICE, PAIRS
from transforms.errors import UserError
from transforms.labelling.choice import PAIR
from transforms.labelling.estimates import estimate_choice
from transforms.labelling.label_files import read_labels
from transforms.storage import files
from transforms.storage.parquet import read_table

if TYPE_CHECKING:
    from pipelines.options.label_options import LabelOptions


def judge_model(options: LabelOptions) -> dict[str, Any]:
    """Estimates precision, recall and accuracy over all scores that the pairs were chosen from.

    Raises:
        UserError: the choice or the answers cannot be read, or do not belong together.
    """
    found = files.read_json(files.join(options.output, CHOICE))
    chosen = read_table(files.join(options.output, PAIRS)).to_pylist()
    labels = read_labels(options.estimate, (PAIR, "label"))
    answers = dict(zip(*(labels.column(name).to_pylist() for name in (PAIR, "label")), strict=True))
    result = estimate_choice(found["rows_by_predicted"], chosen, answers)
    if not result["labelled"]:
        raise UserError(
            f"{', '.join(options.estimate)}: no answer to a random pair of {options.output}"
        )
    for name in ("precision", "recall", "accuracy"):
        print(format_estimate(name, result[name]))
    print(f"from {result['labelled']:,} random pairs with an answer")
    return result


def format_estimate(name: str, found: Mapping[str, float | None]) -> str:
    """A measure with its interval, as a line."""
    value, low, high = (found[key] for key in ("value", "low", "high"))
    if low is None or high is None:
        return f"{name:12}unknown: no random pair of a class has an answer"
    shown = "   —  " if value is None else f"{value:.4f}"
    return f"{name:12}{shown}   95% interval {low:.4f} to {high:.4f}"
