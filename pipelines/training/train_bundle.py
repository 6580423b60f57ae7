"""Trains on an examples folder, and writes a bundle."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from model.recipe.checks import check_shared
from model.recipe.needed_files import check_files
from model.recipe.reading import read_recipe, with_training
from model.recipe.recipe import Recipe
from model.training.train import TrainOptions, train_recipe
from pipelines.training.bundle_output import finished, is_bundle_kept
from transforms.errors import UserError
from transforms.storage import files

if TYPE_CHECKING:
    from model.dataset.examples import Examples


def train_bundle(options: TrainOptions) -> dict[str, Any]:
    """Examples → network → threshold → bundle.

    Raises:
        UserError: the examples, the output folder, TF_CONFIG or a flag cannot be used.
        RunError: it was stopped by SIGTERM, or lost another worker.
    """
    started = time.time()
    exists = is_bundle_kept(options)
    assert options.examples is not None
    from model.dataset.examples import open_examples, run_fingerprint

    with files.local_copy(options.examples) as folder, ExitStack() as more:
        examples = open_examples(folder)
        if options.init_from is not None:
            examples = replace(examples, begun_from=bundle_fingerprint(options.init_from))
        recipe = read_recipe(files.read_bytes(examples.recipe_path), source=examples.recipe_path)
        if options.epochs is None and options.global_batch_size is None:
            recipe = with_enough_steps(recipe, examples.train.total)
        recipe = with_training(
            recipe,
            epochs=options.epochs,
            seed=options.seed,
            batch_size=options.global_batch_size,
            threshold_rule=options.threshold_rule,
        )
        others = [open_more(recipe, name, more) for name in options.more_examples]
        examples = replace(examples, more=tuple(others))
        if exists:
            return finished(options, recipe, run_fingerprint(recipe, examples))
        begins = options.init_from is None and options.checkpoints is None
        check_files(recipe, start_vectors=begins and "TF_CONFIG" not in os.environ)
        metrics, is_chief = train_recipe(options, examples, recipe, started)
    if is_chief:
        print_training(options, metrics)
    return metrics


def with_enough_steps(recipe: Recipe, rows: int) -> Recipe:
    """The recipe for few training examples (see `Training.for_examples`); prints what changed."""
    training = recipe.training.for_examples(rows)
    if training != recipe.training:
        print(
            f"{rows:,} examples are few: batches of {training.batch_size} for "
            f"{training.epochs} epochs, so that there are {training.min_steps} steps"
        )
    return recipe.model_copy(update={"training": training})


def open_more(recipe: Recipe, folder: str, copies: ExitStack) -> tuple[Recipe, Examples]:
    """Another data set and its recipe, with the seed of the first one's.

    Raises:
        UserError: it is not an examples folder, or does not match the first.
    """
    from model.dataset.examples import open_examples

    examples = open_examples(copies.enter_context(files.local_copy(folder)))
    other = read_recipe(files.read_bytes(examples.recipe_path), source=examples.recipe_path)
    check_shared(recipe, other, folder)
    return with_training(other, seed=recipe.training.seed), examples


def bundle_fingerprint(folder: str) -> str:
    """What names the bundle of --init_from.

    Raises:
        UserError: there is none.
    """
    from model.bundle import loading

    path = files.join(folder, loading.MANIFEST)
    if not files.exists(path):
        raise UserError(
            f"--init_from {folder} is not a bundle: it has no {loading.MANIFEST}; "
            "expected the --output of twinbeam train"
        )
    return str(files.read_json(path).get("fingerprint"))


def print_training(options: TrainOptions, metrics: dict[str, Any]) -> None:
    """The closing line."""
    measured = next(
        (name for name in ("eval_accuracy", "eval_pearson") if name in metrics), "eval_loss"
    )
    print(
        f"{metrics['epochs']} epochs, best {metrics['best_epoch']}, "
        f"{measured.replace('_', ' ')} {metrics[measured]:.4f}, "
        f"threshold {metrics['threshold']:.4f}, {metrics['pairs_per_second']:.0f} pairs/s, "
        f"{metrics['seconds']:.0f} s in all; bundle in {options.output}"
    )
