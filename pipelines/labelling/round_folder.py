"""The folders and files of rounds of labelling: what exists, and whether it is of this run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from model.recipe.reading import load_recipe
from pipelines.labelling.choice_folder import CHOICE, PAIRS
from pipelines.options.scored_inputs import MANIFEST, RECIPE
from pipelines.running import same_run
from transforms.accounts.claims import SHARDS_FOLDER, Claim, take
from transforms.accounts.shard_account import SUCCESS
from transforms.errors import UserError
from transforms.labelling.label_files import SAME_OR_NOT
from transforms.labelling.rounds import LABEL, Round, Rounds, labels_key
from transforms.storage import files
from transforms.storage.parquet import read_table

if TYPE_CHECKING:
    from pipelines.options.label_options import LabelOptions

ROUNDS = "rounds.json"
LABELS, BEGUN = "labels.parquet", "round.json"
EXAMPLES, BUNDLE, SCORES, PAGE = "examples", "bundle", "scores", "to-label"  # folders of a round


def read_rounds(options: LabelOptions) -> Rounds:
    """The rounds in the output folder, with one that was killed just before its commit.

    Raises:
        UserError: it holds something else, or rounds of other settings.
    """
    settings = round_settings(options)
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


def round_settings(options: LabelOptions) -> dict[str, Any]:
    """What all rounds of a folder share, by the names of flags.

    Raises:
        UserError: there is no bundle, or its recipe does not say same or not.
    """
    assert options.next is not None
    path = files.join(options.next.model, MANIFEST)
    if not files.exists(path):
        raise UserError(f"--model {options.next.model} is not a bundle: it has no {MANIFEST}")
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
    """The folder of a round."""
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


def begin_round(options: LabelOptions, folder: str, labels: pa.Table) -> str:
    """Keeps the labels of a round, unless they are kept already; returns its bundle's folder."""
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
        # Written after the labels: a folder that has it, with the same content, has them complete.
        files.write_json(path, begun)
    return str(begun["bundle"])


def commit_rounds(output: str, claim: Claim | None, rounds: Rounds, labels: pa.Table) -> Rounds:
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
