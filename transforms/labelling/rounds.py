"""Rounds of labelling: what each was made from, and what its answers say of the model that chose.

A round is a model, the pairs that it chose, and later the answers to them. The model of a round has
seen the labels of the rounds before it, but not those of its own round, so the random share of its
pairs is a fair sample to judge it by.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import pyarrow as pa

from transforms.labelling.choice import PAIR
from transforms.labelling.estimates import estimate_choice

LABEL = "label"


@dataclass(frozen=True)
class Round:
    """A round that is done: its pairs are chosen.

    Attributes:
        number: from 1 on.
        labels: how many its model was fine-tuned on; 0 for the model as it came.
        same: how many of them say same.
        labels_key: names these labels.
        bundle: its model.
        fingerprint: of the bundle.
        page: the folder with its pairs and the page to label them on.
        pairs: how many were chosen.
        random_pairs: how many of them at random.
    """

    number: int
    labels: int
    same: int
    labels_key: str
    bundle: str
    fingerprint: str
    page: str
    pairs: int
    random_pairs: int


@dataclass(frozen=True)
class Rounds:
    """All rounds so far.

    Attributes:
        settings: what all of them share, as plain JSON.
        done: the rounds in their order.
        accuracy: of each model on the random share of its round, as `estimate` gives it; None as
            long as no random pair of the round has an answer.
    """

    settings: dict[str, Any]
    done: tuple[Round, ...] = ()
    accuracy: tuple[dict[str, Any] | None, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As it is kept."""
        rounds = [
            {**asdict(each), "accuracy": accuracy}
            for each, accuracy in zip(self.done, self.accuracy, strict=True)
        ]
        return {"settings": self.settings, "rounds": rounds}

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Rounds:
        """The same from what was kept."""
        kept = [dict(each) for each in content["rounds"]]
        accuracy = tuple(each.pop("accuracy") for each in kept)
        return Rounds(dict(content["settings"]), tuple(Round(**each) for each in kept), accuracy)

    def with_round(self, new: Round) -> Rounds:
        """One more, whose answers are still to come."""
        return replace(self, done=(*self.done, new), accuracy=(*self.accuracy, None))

    def judged(
        self, choices: Sequence[tuple[Mapping[str, Any], list[dict[str, Any]]]], labels: pa.Table
    ) -> Rounds:
        """The same with what the labels say of each model.

        Args:
            choices: for each round its choice.json and its pairs.
            labels: all labels so far, with `pair` and `label`.
        """
        answers = dict(zip(*(labels.column(n).to_pylist() for n in (PAIR, LABEL)), strict=True))
        found = []
        for choice, pairs in choices:
            measures = estimate_choice(choice["rows_by_predicted"], pairs, answers)
            found.append(
                {**measures["accuracy"], "answered": measures["labelled"]}
                if measures["labelled"]
                else None
            )
        return replace(self, accuracy=tuple(found))


def labels_key(labels: pa.Table) -> str:
    """Names a set of labels, whatever files they came in."""
    lines = zip(*(labels.column(name).to_pylist() for name in (PAIR, LABEL)), strict=True)
    return hashlib.sha256("\n".join(f"{p} {v}" for p, v in sorted(lines)).encode()).hexdigest()


def format_rounds(rounds: Rounds) -> str:
    """The table of rounds as lines."""
    heads = ("round", "labels", "accuracy", "95 % interval", "random answers", "model")
    lines = [heads]
    for each, found in zip(rounds.done, rounds.accuracy, strict=True):
        measured = ("", "not yet", "0")
        if found is not None:
            value, low, high = (found[key] for key in ("value", "low", "high"))
            measured = (
                "" if value is None else f"{value:.3f}",
                "unknown" if low is None else f"{low:.3f} to {high:.3f}",
                f"{found['answered']:,}",
            )
        lines.append((str(each.number), f"{each.labels:,}", *measured, each.bundle))
    widths = [max(len(line[place]) for line in lines) for place in range(len(heads) - 1)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=False))
        + f"  {line[-1]}"
        for line in lines
    )
