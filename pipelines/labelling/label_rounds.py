"""A round of labelling in one command: labels in → fine-tuned model → scores → the next pairs.

Each step is the command of its own name, which does nothing where its work is done already, so a
round that was killed resumes where it stopped. `rounds.json` is written last and is the commit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipelines.labelling.choice_folder import PAGE as LABEL_PAGE
from pipelines.labelling.round_folder import (
    BUNDLE,
    EXAMPLES,
    LABELS,
    PAGE,
    SCORES,
    begin_round,
    commit_rounds,
    read_rounds,
    recipe_of,
    round_folder,
    round_in,
)
from transforms.accounts.claims import take
from transforms.errors import UserError
from transforms.labelling.label_files import gather_labels
from transforms.labelling.rounds import LABEL, Round, Rounds, format_rounds, labels_key
from transforms.storage import files
from transforms.storage.lock import lock
from transforms.storage.parquet import read_table

if TYPE_CHECKING:
    from pipelines.options.label_options import LabelOptions


@dataclass(frozen=True)
class RoundSteps:
    """The steps of a round, each of which does nothing where its work is done already.

    Attributes:
        preprocess: labels → examples; like the next two it takes the flags of the command.
        train: examples → bundle.
        score: pairs → scores.
        choose: scores → pairs to label, and their page.
    """

    preprocess: Callable[[Sequence[str]], object]
    train: Callable[[Sequence[str]], object]
    score: Callable[[Sequence[str]], object]
    choose: Callable[[LabelOptions], object]


def next_round(options: LabelOptions, steps: RoundSteps) -> dict[str, Any]:
    """Takes the labels in and makes the next round, if there are new ones; prints the table.

    Args:
        options: with `next`; its inputs are pairs without scores.
        steps: what a round is made by.

    Returns:
        The content of rounds.json.

    Raises:
        UserError: a flag or a label cannot be used, or the folder holds other rounds.
    """
    busy = f"{options.output} is being written by another run; wait for it"
    with lock(f"{options.output}.lock", busy=busy):
        rounds = read_rounds(options)
        labels, counts = read_answers(options, rounds)
        if rounds.done and rounds.done[-1].labels_key == labels_key(labels):
            # No new round, but answers to the last round's random pairs may say more of its model.
            print(f"{options.output} is complete already: there are no new labels")
            rounds = commit_rounds(options.output, None, rounds, labels)
        else:
            print_labels(counts)
            check_answers(labels)
            claim = take(options.output)
            new = make_round(options, len(rounds.done) + 1, labels, steps)
            rounds = commit_rounds(options.output, claim, rounds.with_round(new), labels)
    print(format_rounds(rounds))
    page = files.join(rounds.done[-1].page, LABEL_PAGE)
    print(f"next: label the pairs on {page}, save, and run the same command again")
    return rounds.to_json()


def read_answers(options: LabelOptions, rounds: Rounds) -> tuple[pa.Table, dict[str, int]]:
    """All labels: those of the last round, and the files that are given now."""
    before = None
    if rounds.done and rounds.done[-1].labels:
        folder = round_folder(options.output, len(rounds.done))
        before = read_table(files.join(folder, LABELS))
    return gather_labels(options.labelled, options.columns, before)


def print_labels(counts: dict[str, int]) -> None:
    """Prints how many rows of the files were used."""
    parts = [
        f"{counts[name]:,} {what}"
        for name, what in (
            ("labels", "labels"),
            ("no_answer", "without an answer"),
            ("again", "repeated"),
            ("changed", "changed by a later answer"),
        )
        if counts[name]
    ]
    if parts:
        print(f"{counts['rows']:,} rows of labels = {' + '.join(parts)}")


def check_answers(labels: pa.Table) -> None:
    """Checks that a model can be fine-tuned on the labels.

    Raises:
        UserError: all say the same.
    """
    found = set(labels.column(LABEL).to_pylist())
    if len(found) == 1:
        one = "same" if found == {1} else "not the same"
        raise UserError(
            f"all {labels.num_rows:,} labels say {one}; a model learns from both, so label more"
        )


def make_round(options: LabelOptions, number: int, labels: pa.Table, steps: RoundSteps) -> Round:
    """Fine-tunes, scores and chooses; what an earlier attempt has done of it is kept."""
    folder = round_folder(options.output, number)
    bundle = begin_round(options, folder, labels)
    if labels.num_rows:
        fine_tune(options, folder, steps)
    steps.score(
        [
            *flag("input", *options.inputs), *flag("model", bundle),
            *flag("output", files.join(folder, SCORES)), *passed_on(options),
        ]
    )  # fmt: skip
    steps.choose(
        replace(
            options,
            next=None,
            inputs=(files.join(folder, SCORES),),
            output=files.join(folder, PAGE),
            labelled=(files.join(folder, LABELS),) if labels.num_rows else (),
            # Another draw each time: what the last one has left over is no fair sample.
            seed=options.seed + number - 1,
        )
    )
    return round_in(folder, number)


def fine_tune(options: LabelOptions, folder: str, steps: RoundSteps) -> None:
    """Labels → examples → bundle, each time from the model that the rounds began with."""
    assert options.next is not None
    examples = files.join(folder, EXAMPLES)
    steps.preprocess(
        [
            *flag("input", files.join(folder, LABELS)), *flag("recipe", recipe_of(options)),
            *flag("output", examples), *passed_on(options),
        ]
    )  # fmt: skip
    steps.train(
        [
            *flag("examples", examples), *flag("init_from", options.next.model),
            *flag("output", files.join(folder, BUNDLE)),
        ]
    )  # fmt: skip


def flag(name: str, *values: str) -> list[str]:
    """A flag with its values."""
    return [f"--{name}", *values]


def passed_on(options: LabelOptions) -> list[str]:
    """The flags that each step takes: names of columns, and Beam's."""
    one, other = options.columns.sides
    columns = [*flag("sentence1_column", one), *flag("sentence2_column", other)]
    return [*columns, *options.beam_flags]
