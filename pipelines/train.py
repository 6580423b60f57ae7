"""Trains a recipe's network on an examples folder and writes a bundle.

Local: twinbeam train --examples examples --output bundle
Without data: twinbeam train --recipe universal-cosine --output bundle
Several machines: the same on each of them, with TF_CONFIG set.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from model.bundle.export import half_written
from model.recipe.checks import check_shared
from model.recipe.needed_files import check_files
from model.recipe.reading import describe_recipes, load_recipe, read_recipe, with_training
from model.recipe.recipe import Recipe
from model.training.train import TrainOptions, train_recipe
from model.training.untrained import check_untrained, export_untrained, run_of
from pipelines.options import command_line
from pipelines.options.train_options import parse
from transforms.errors import UserError
from transforms.storage import files

if TYPE_CHECKING:
    from model.dataset.examples import Examples


def run(argv: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Trains, and returns the metrics; None where recipes were only listed."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if "--list_recipes" in argv:
        for name, line in describe_recipes():
            print(f"{name:28} {line}")
        return None
    options = parse(argv)
    return train(options) if options.examples else use_untrained(options)


def train(options: TrainOptions) -> dict[str, Any]:
    """Examples → network → threshold → bundle.

    Raises:
        UserError: the examples, the output folder, TF_CONFIG or a flag cannot be used.
        RunError: it was stopped by SIGTERM, or lost another worker.
    """
    started = time.time()
    exists = check_output(options)
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
        print_result(options, metrics)
    return metrics


def with_enough_steps(recipe: Recipe, rows: int) -> Recipe:
    """The recipe for so many training examples (see `Training.for_examples`); says what changed."""
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
        UserError: it is no examples folder, or does not go with the first.
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
            f"--init_from {folder} is no bundle: it has no {loading.MANIFEST}; "
            "expected the --output of twinbeam train"
        )
    return str(files.read_json(path).get("fingerprint"))


def use_untrained(options: TrainOptions) -> dict[str, Any]:
    """A recipe's pre-trained model → bundle, as it is; the same again does nothing.

    Raises:
        UserError: the recipe needs training, a file of it is not there, or the folder is not free.
    """
    recipe = load_recipe(str(options.recipe))
    check_untrained(recipe)
    check_files(recipe)
    if bundle_exists(options) and not options.overwrite:
        return finished(options, recipe, run_of(recipe))
    from pipelines.running.transform_graph import given_vocabulary, write_graph

    vocabulary = given_vocabulary(recipe)
    with tempfile.TemporaryDirectory(prefix="twinbeam-graph-") as graph:
        write_graph(recipe, vocabulary, graph)
        metrics = export_untrained(
            recipe,
            vocabulary_size=vocabulary.size,
            graph=graph,
            output=options.output,
            overwrite=options.overwrite,
        )
    assert recipe.untrained is not None
    threshold, source = recipe.untrained.threshold, recipe.untrained.measured_on
    print(f"{recipe.name} as it is, not trained; threshold {threshold:g}, measured on {source}")
    print(f"bundle in {options.output}")
    return metrics


def bundle_exists(options: TrainOptions) -> bool:
    """Whether a bundle lies in the output folder.

    Raises:
        UserError: something else does.
    """
    names = files.list_folder(options.output)
    if names and "manifest.json" not in names:
        raise UserError(
            f"{options.output} holds {names[0]!r} and is no bundle; choose another folder"
        )
    return bool(names)


def check_output(options: TrainOptions) -> bool:
    """Refuses to write over anything but a bundle, and over that without leave.

    Returns:
        Whether a bundle is there that this very run may have written.
    """
    if options.checkpoints and half_written(files.list_folder(options.output)):
        return False
    return bundle_exists(options) and not options.overwrite


def finished(options: TrainOptions, recipe: Recipe, run: str) -> dict[str, Any]:
    """The metrics of the bundle that this very run has written before it was started again.

    Machines that are lost just after the bundle appeared start all workers once more, and a person
    may type the same command again.

    Raises:
        UserError: another run has written it, or it is not whole.
    """
    from model.bundle import loading

    loading.verify(options.output)
    metrics: dict[str, Any] = files.read_json(files.join(options.output, loading.METRICS))
    path = files.join(options.output, loading.RECIPE)
    before = read_recipe(files.read_bytes(path), source=path)
    different = differences(before.model_dump(), recipe.model_dump())
    rule = options.threshold_rule or recipe.training.threshold_rule
    if metrics.get("threshold_rule", rule) != rule:
        different.append(f"threshold_rule {metrics['threshold_rule']}, now {rule}")
    if different or metrics.get("run") != run:
        raise UserError(
            f"{options.output} holds the bundle of another run "
            f"({', '.join(different[:6]) or 'other examples'}); choose another folder, or give "
            "--overwrite"
        )
    print(f"{options.output} is complete already: same examples, recipe and options")
    return metrics


def differences(before: Any, now: Any, name: str = "") -> list[str]:
    """What differs in two recipes, each as `epochs 3, now 5`."""
    if isinstance(before, dict) and isinstance(now, dict):
        names = [key for key in before if key in now]
        return [line for key in names for line in differences(before[key], now[key], key)]
    return [] if before == now else [f"{name} {before}, now {now}"]


def print_result(options: TrainOptions, metrics: dict[str, Any]) -> None:
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


def main() -> int:
    """Exit code 0 done, 2 unusable input, 1 failed."""
    return command_line.run_main(run)


if __name__ == "__main__":
    raise SystemExit(main())
