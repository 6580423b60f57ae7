"""Chooses the pairs that people should label, and estimates a model's worth from their answers.

Local: twinbeam label --input scores --output to-label --pairs 500
Then open to-label/label.html in a browser, label, save, and preprocess what was saved.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from pipelines.examples.make_examples import make_examples
from pipelines.examples.teachers import ask_teachers
from pipelines.labelling.judge import judge_model
from pipelines.labelling.label_rounds import RoundSteps, next_round
from pipelines.labelling.make_choice import choose_pairs
from pipelines.options import command_line, preprocess_options, score_options, train_options
from pipelines.options.label_options import parse
from pipelines.scoring.score_pairs import score_pairs
from pipelines.training.train_bundle import train_bundle


def preprocess_labels(argv: Sequence[str]) -> None:
    """Labels → examples, as the command `preprocess`."""
    make_examples(ask_teachers(preprocess_options.parse(argv), score_pairs))


def train_model(argv: Sequence[str]) -> None:
    """Examples → bundle, as the command `train`."""
    train_bundle(train_options.parse(argv))


def score_round(argv: Sequence[str]) -> None:
    """Pairs → scores, as the command `score`."""
    score_pairs(score_options.parse(argv))


STEPS = RoundSteps(preprocess_labels, train_model, score_round, choose_pairs)


def run(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Chooses or estimates, and returns what was found."""
    options = parse(sys.argv[1:] if argv is None else argv)
    if options.next:
        return next_round(options, STEPS)
    return judge_model(options) if options.estimate else choose_pairs(options)


def main() -> int:
    """The command line."""
    return command_line.run_main(run)


if __name__ == "__main__":
    raise SystemExit(main())
