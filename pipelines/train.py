"""Trains a recipe's network on an examples folder and writes a bundle.

Local: twinbeam train --examples examples --output bundle
Several machines: the same on each of them, with TF_CONFIG set.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from model.bundle.export import half_written
from model.recipe.reading import describe_recipes, read_recipe, with_training
from model.training.train import TrainOptions, train_recipe
from pipelines.options import command_line
from pipelines.options.train_options import parse
from transforms.errors import UserError
from transforms.storage import files

if TYPE_CHECKING:
    pass


def run(argv: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Trains, and returns the metrics; None where recipes were only listed."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if "--list_recipes" in argv:
        for name, line in describe_recipes():
            print(f"{name:28} {line}")
        return None
    return train(parse(argv))


def train(options: TrainOptions) -> dict[str, Any]:
    """Examples → network → threshold → bundle.

    Raises:
        UserError: the examples, the output folder, TF_CONFIG or a flag cannot be used.
        RunError: it was stopped by SIGTERM, or lost another worker.
    """
    started = time.time()
    exists = check_output(options)
    from model.dataset.examples import open_examples, run_fingerprint

    with files.local_copy(options.examples) as folder:
        examples = open_examples(folder)
        if options.init_from is not None:
            examples = replace(examples, begun_from=bundle_fingerprint(options.init_from))
        recipe = read_recipe(files.read_bytes(examples.recipe_path), where=examples.recipe_path)
        recipe = with_training(
            recipe,
            epochs=options.epochs,
            seed=options.seed,
            batch_size=options.global_batch_size,
            threshold_rule=options.threshold_rule,
        )
        if exists:
            return finished(options, run_fingerprint(recipe, examples))
        metrics, is_chief = train_recipe(options, examples, recipe, started)
    if is_chief:
        print_result(options, metrics)
    return metrics


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
            "expected the --output of python -m pipelines.train"
        )
    return str(files.read_json(path).get("fingerprint"))


def check_output(options: TrainOptions) -> bool:
    """Refuses to write over anything but a bundle, and over that without leave.

    Returns:
        Whether a bundle is there that a run with checkpoints may have written.
    """
    names = files.list_folder(options.output)
    if options.checkpoints and half_written(names):
        return False
    if names and "manifest.json" not in names:
        raise UserError(
            f"{options.output} holds {names[0]!r} and is no bundle; choose another folder"
        )
    if names and not options.overwrite and not options.checkpoints:
        raise UserError(not_empty(options))
    return bool(names) and not options.overwrite


def not_empty(options: TrainOptions) -> str:
    """What is said of a bundle that must not be replaced."""
    return f"{options.output} is not empty; choose another folder, or give --overwrite"


def finished(options: TrainOptions, run: str) -> dict[str, Any]:
    """The metrics of the bundle that this very run has written before it was started again.

    Machines that are lost just after the bundle appeared start all workers once more.

    Raises:
        UserError: another run has written it, or it is not whole.
    """
    from model.bundle import loading

    loading.verify(options.output)
    metrics = files.read_json(files.join(options.output, loading.METRICS))
    if metrics.get("run") != run:
        raise UserError(not_empty(options))
    print(f"nothing to do: this run's bundle is in {options.output}")
    return metrics


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
