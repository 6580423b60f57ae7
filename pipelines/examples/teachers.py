"""The teachers that a recipe names: they score the pairs before these become examples.

Each teacher's run is one of `score`: on any runner, resumed where it ended, each distinct sentence
encoded once. What it makes stays beside the examples, in `OUTPUT.teachers`, under a name made from
all that decides it; the next preprocessing of the same pairs finds it there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from model.bundle import loading
from model.recipe.reading import read_recipe
from model.recipe.recipe import Recipe, similarity_range
from model.scoring.scorer_options import ScorerOptions
from pipelines.options.score_options import ScoreOptions
from pipelines.running import run_inputs
from transforms.errors import UserError
from transforms.examples import folder
from transforms.examples.label_check import check_labels
from transforms.storage import files

if TYPE_CHECKING:
    from pipelines.options.preprocess_options import PreprocessOptions


FOLDER = "{output}.teachers"
VECTORS = "vectors-{name}"
COLUMN = "teacher_{number}_similarity"
Score = Callable[[ScoreOptions], dict[str, Any]]
_NAME = 12  # characters of a hash in a folder's name


def ask_teachers(options: PreprocessOptions, score: Score) -> PreprocessOptions:
    """The same run on scored pairs, where the recipe names teachers; else unchanged.

    Args:
        options: of the preprocessing.
        score: runs scoring, and returns its manifest.

    Raises:
        UserError: a teacher is not a bundle, or scores on another scale.
        RunError: scoring failed; what it finished is kept.
    """
    distill = options.recipe.distill
    if distill is None or not distill.teacher or options.estimating.wanted:
        return options
    for bundle in distill.teacher:
        check_teacher(bundle, options.recipe)
    check_pairs(options)
    taught: list[dict[str, Any]] = []
    inputs = options.inputs
    for number, bundle in enumerate(distill.teacher, start=1):
        print(f"teacher {number} of {len(distill.teacher)}: {bundle}", flush=True)
        run = scoring_options(replace(options, inputs=inputs), bundle, number)
        manifest = score(run)
        if not manifest:
            raise UserError(
                f"teacher {bundle}: its scores must be there before examples are made of them; run "
                "without --dry_run"
            )
        taught.append(account(run, manifest))
        inputs = (files.join(run.output, "*.parquet"),)
    columns = replace(
        options.columns,
        teachers=tuple(each["column"] for each in taught),
        keyed=options.recipe.learns_vectors,
    )
    return replace(options, inputs=inputs, columns=columns, taught=tuple(taught))


def check_teacher(bundle: str, recipe: Recipe) -> None:
    """Checks that a teacher's similarities mean what the recipe's do.

    Raises:
        UserError: it is not a bundle, or its similarities have another range.
    """
    path = files.join(bundle, loading.RECIPE)
    if not files.exists(path):
        raise UserError(
            f"distill.teacher: {bundle} is not a bundle; expected the --output of twinbeam train"
        )
    theirs = similarity_range(read_recipe(files.read_bytes(path), source=path))
    if theirs != (ours := similarity_range(recipe)):
        raise UserError(
            f"distill.teacher: {bundle} scores from {theirs[0]:g} to {theirs[1]:g}, and the "
            f"recipe's labels go from {ours[0]:g} to {ours[1]:g}; they must be the same"
        )


def check_pairs(options: PreprocessOptions) -> None:
    """Meets a mistake before teachers have worked for nothing.

    Raises:
        UserError: the pairs cannot be used, or the output folder is not free.
    """
    folder.check_ours(options.output)
    planned = run_inputs.plan_input(
        options, options.inputs, options.columns, named_after_input=True
    )
    if options.columns.label is not None:
        check_labels(planned.shards[0], options.columns.label, options.recipe.label_rule)


def scoring_options(options: PreprocessOptions, bundle: str, number: int) -> ScoreOptions:
    """The options of a teacher's run."""
    column = COLUMN.format(number=number)
    run = ScoreOptions(
        inputs=options.inputs,
        output="",
        model=bundle.rstrip("/"),
        columns=replace(options.columns, label=None, weight=None, teachers=()),
        max_chars=options.max_chars,
        shard_rows=options.shard_rows,
        on_bad_file=options.on_bad_file,
        int96=options.int96,
        partition_columns=options.partition_columns if number == 1 else {},
        max_reject_fraction=options.max_reject_fraction,
        accelerator=options.accelerator,
        beam_flags=options.beam_flags,
        scoring=ScorerOptions(similarity_column=column, label_column=f"teacher_{number}_label"),
        encode_once="global",
    )
    beside, name = (
        FOLDER.format(output=options.output),
        _name(run, vectors=options.recipe.learns_vectors),
    )
    store = files.join(beside, VECTORS.format(name=name)) if options.recipe.learns_vectors else None
    return replace(run, output=files.join(beside, name), embedding_store=store)


def _name(run: ScoreOptions, *, vectors: bool) -> str:
    """Names a teacher's scores by all that decides them but the pairs' content.

    Scores that were made without keeping vectors are no reason not to make these.
    """
    bundle = files.read_json(files.join(run.model, loading.MANIFEST)).get("fingerprint")
    identity = json.dumps([bundle, run.identity(), list(run.inputs), vectors], sort_keys=True)
    return hashlib.sha256(identity.encode()).hexdigest()[:_NAME]


def account(run: ScoreOptions, manifest: dict[str, Any]) -> dict[str, Any]:
    """What the manifest of the examples says of a teacher."""
    return {
        "bundle": manifest["bundle"]["fingerprint"],
        "path": run.model,
        "column": run.scoring.similarity_column,
        "scores": run.output,
        "vectors": run.embedding_store,
        "inputs": list(run.inputs),
        "rows_in": manifest["rows_in"],
        "rows_rejected": manifest["rows_rejected"],
    }
