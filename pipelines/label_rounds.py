"""A round of labelling in one command: labels in → fine-tuned model → scores → the next pairs.

Each step is the command of its own name, which does nothing where its work is done already, so a
round that was killed goes on where it stopped. `rounds.json` is written last and is the commit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from model.recipe.reading import load_recipe
from pipelines import preprocess, score, train
from pipelines.options.label_options import LabelOptions
from pipelines.options.scored_inputs import MANIFEST, RECIPE
from pipelines.report.label_page import PAGE as LABEL_PAGE
from pipelines.running import same_run
from transforms.accounts.claims import SHARDS_FOLDER, Claim, take
from transforms.accounts.shard_account import SUCCESS
from transforms.errors import UserError
from transforms.labelling.label_files import SAME_OR_NOT, gather_labels
from transforms.labelling.rounds import LABEL, Round, Rounds, format_rounds, labels_key
from transforms.storage import files
from transforms.storage.lock import lock
from transforms.storage.parquet import read_table

ROUNDS = "rounds.json"
LABELS, BEGUN, CHOICE, PAIRS = "labels.parquet", "round.json", "choice.json", "pairs.parquet"
EXAMPLES, BUNDLE, SCORES, PAGE = "examples", "bundle", "scores", "to-label"  # folders of a round

Choose = Callable[[LabelOptions], dict[str, Any]]


def next_round(options: LabelOptions, choose: Choose) -> dict[str, Any]:
    """Takes the labels in and makes the next round, if there are new ones; prints the table.

    Args:
        options: with `next`; its inputs are pairs without scores.
        choose: chooses pairs from scores, as `pipelines.label.choose_pairs`.

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
            print(f"{options.output} is complete already: no label is new")
            rounds = commit(options.output, None, rounds, labels)
        else:
            print_labels(counts)
            check_answers(labels)
            claim = take(options.output)
            new = make_round(options, len(rounds.done) + 1, labels, choose)
            rounds = commit(options.output, claim, rounds.with_round(new), labels)
    print(format_rounds(rounds))
    page = files.join(rounds.done[-1].page, LABEL_PAGE)
    print(f"next: label the pairs on {page}, then the same command with what it saved")
    return rounds.to_json()


def read_rounds(options: LabelOptions) -> Rounds:
    """The rounds in the output folder, with one that was killed just before its commit.

    Raises:
        UserError: it holds something else, or rounds of other settings.
    """
    settings = settings_of(options)
    path = files.join(options.output, ROUNDS)
    rounds = Rounds(settings)
    if files.exists(path):
        rounds = Rounds.from_json(files.read_json(path))
        same_run.check_same(options.output, rounds.settings, settings)
    else:
        check_free(options.output)
    number = len(rounds.done) + 1
    folder = round_folder(options.output, number)
    done = files.exists(files.join(folder, PAGE, SUCCESS))
    return rounds.with_round(round_in(folder, number)) if done else rounds


def settings_of(options: LabelOptions) -> dict[str, Any]:
    """What all rounds of a folder share, by the names of flags.

    Raises:
        UserError: there is no bundle, or its recipe is not one of same or not.
    """
    assert options.next is not None
    path = files.join(options.next.model, MANIFEST)
    if not files.exists(path):
        raise UserError(f"--model {options.next.model} is no bundle: it has no {MANIFEST}")
    recipe = load_recipe(recipe_of(options))
    if recipe.label_rule.classes != SAME_OR_NOT.classes:
        raise UserError(
            f"recipe {recipe.name} has the labels {recipe.label_rule.expected}; "
            "a round of labelling gives 0 and 1, so expected those two"
        )
    return same_run.made_from(
        {
            "recipe": recipe.to_yaml(),
            "sentence_columns": list(options.columns.sides),
            "cluster_column": options.cluster,
            "seed": options.seed,
        },
        {"model": files.read_json(path)["fingerprint"]},
    )


def recipe_of(options: LabelOptions) -> str:
    """The recipe to fine-tune by: the one that was named, or the bundle's own."""
    assert options.next is not None
    return options.next.recipe or files.join(options.next.model, RECIPE)


def check_free(output: str) -> None:
    """Checks that a folder without rounds holds nothing but a first round that was killed.

    Raises:
        UserError: it holds something else.
    """
    ours = ("round-", SHARDS_FOLDER, files.TEMPORARY_FOLDER)
    foreign = sorted(name for name in files.list_folder(output) if not name.startswith(ours))
    if foreign:
        raise UserError(f"{output} holds {foreign[0]!r} and no {ROUNDS}; give a new folder")


def round_folder(output: str, number: int) -> str:
    """Where a round lies."""
    return files.join(output, f"round-{number}")


def round_in(folder: str, number: int) -> Round:
    """The account of a round whose pairs are chosen."""
    begun = files.read_json(files.join(folder, BEGUN))
    choice = files.read_json(files.join(folder, PAGE, CHOICE))
    return Round(
        number=number,
        **begun,
        fingerprint=files.read_json(files.join(begun["bundle"], MANIFEST))["fingerprint"],
        page=files.join(folder, PAGE),
        pairs=choice["pairs"],
        random_pairs=choice["random_pairs"],
    )


def read_answers(options: LabelOptions, rounds: Rounds) -> tuple[pa.Table, dict[str, int]]:
    """All labels: those of the last round, and the files that are given now."""
    before = None
    if rounds.done and rounds.done[-1].labels:
        folder = round_folder(options.output, len(rounds.done))
        before = read_table(files.join(folder, LABELS))
    return gather_labels(options.labelled, options.columns, before)


def print_labels(counts: dict[str, int]) -> None:
    """Says what became of the rows of the files."""
    parts = [
        f"{counts[name]:,} {what}"
        for name, what in (
            ("labels", "labels"),
            ("no_answer", "without an answer"),
            ("again", "repeated"),
            ("changed", "answered otherwise later"),
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


def make_round(options: LabelOptions, number: int, labels: pa.Table, choose: Choose) -> Round:
    """Fine-tunes, scores and chooses; what an earlier attempt has done of it is kept."""
    folder = round_folder(options.output, number)
    bundle = begin(options, folder, labels)
    if labels.num_rows:
        fine_tune(options, folder)
    score.run(
        [
            *flag("input", *options.inputs), *flag("model", bundle),
            *flag("output", files.join(folder, SCORES)), *passed_on(options),
        ]
    )  # fmt: skip
    choose(
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


def begin(options: LabelOptions, folder: str, labels: pa.Table) -> str:
    """Keeps the labels of a round, unless they are there already; returns its bundle's folder."""
    assert options.next is not None
    found = labels.column(LABEL).to_pylist()
    begun = {
        "labels": len(found),
        "same": found.count(1),
        "labels_key": labels_key(labels),
        "bundle": files.join(folder, BUNDLE) if found else options.next.model,
    }
    path = files.join(folder, BEGUN)
    if not files.exists(path) or files.read_json(path) != begun:
        files.delete_folder(folder)  # of an attempt that knew fewer labels and was killed
        if found:
            sink = pa.BufferOutputStream()
            pq.write_table(labels, sink, compression="zstd")
            files.write_bytes(files.join(folder, LABELS), sink.getvalue().to_pybytes())
        files.write_json(path, begun)
    return str(begun["bundle"])


def fine_tune(options: LabelOptions, folder: str) -> None:
    """Labels → examples → bundle, each time from the model that the rounds began with."""
    assert options.next is not None
    examples = files.join(folder, EXAMPLES)
    preprocess.run(
        [
            *flag("input", files.join(folder, LABELS)), *flag("recipe", recipe_of(options)),
            *flag("output", examples), *passed_on(options),
        ]
    )  # fmt: skip
    train.run(
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


def commit(output: str, claim: Claim | None, rounds: Rounds, labels: pa.Table) -> Rounds:
    """Judges every model by all labels, and writes rounds.json if it says anything new."""
    pages = [each.page for each in rounds.done]
    choices = [
        (
            files.read_json(files.join(page, CHOICE)),
            read_table(files.join(page, PAIRS)).to_pylist(),
        )
        for page in pages
    ]
    rounds = rounds.judged(choices, labels)
    path = files.join(output, ROUNDS)
    if not files.exists(path) or files.read_json(path) != rounds.to_json():
        claim = claim or take(output)
        claim.write(ROUNDS, files.as_json(rounds.to_json()))
    return rounds
