"""Trains a recipe's network on an examples folder and writes a bundle.

Local: python -m pipelines.train --examples examples --output bundle
Several machines: the same on each of them, with TF_CONFIG set.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from model.bundle.export import half_written
from model.recipe.reading import describe_recipes, read_recipe, with_training
from model.training.train import TrainRun, train_recipe
from pipelines.options import command_line
from pipelines.options.train_options import parse
from transforms.errors import UserError
from transforms.storage import files

if TYPE_CHECKING:
    pass


def run(argv: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Trains, and returns the metrics; None where recipes were only listed."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if {"--list_recipes", "--list-recipes"} & set(argv):
        for name, line in describe_recipes():
            print(f"{name:28} {line}")
        return None
    return train(parse(argv))


def train(asked: TrainRun) -> dict[str, Any]:
    """Examples → network → threshold → bundle.

    Raises:
        UserError: the examples, the output folder, TF_CONFIG or a flag cannot be used.
        RunError: it was stopped by SIGTERM, or lost another worker.
    """
    started = time.time()
    there = check_output(asked)
    from model.dataset.examples import open_examples, run_fingerprint

    with files.local_copy(asked.examples) as folder:
        examples = open_examples(folder)
        recipe = read_recipe(files.read_bytes(examples.recipe_path), where=examples.recipe_path)
        recipe = with_training(
            recipe, epochs=asked.epochs, seed=asked.seed, batch_size=asked.global_batch_size
        )
        if there:
            return finished(asked, run_fingerprint(recipe, examples))
        metrics, is_chief = train_recipe(asked, examples, recipe, started)
    if is_chief:
        tell(asked, metrics)
    return metrics


def check_output(asked: TrainRun) -> bool:
    """Refuses to write over anything but a bundle, and over that without leave.

    Returns:
        Whether a bundle is there that a run with checkpoints may have written.
    """
    names = files.list_folder(asked.output)
    if asked.checkpoints and half_written(names):
        return False
    if names and "manifest.json" not in names:
        raise UserError(
            f"{asked.output} holds {names[0]!r} and is no bundle; choose another folder"
        )
    if names and not asked.overwrite and not asked.checkpoints:
        raise UserError(not_empty(asked))
    return bool(names) and not asked.overwrite


def not_empty(asked: TrainRun) -> str:
    """What is said of a bundle that must not be replaced."""
    return f"{asked.output} is not empty; choose another folder, or give --overwrite"


def finished(asked: TrainRun, run: str) -> dict[str, Any]:
    """The metrics of the bundle that this very run has written before it was started again.

    Machines that are lost just after the bundle appeared start all workers once more.

    Raises:
        UserError: another run has written it, or it is not whole.
    """
    from model.bundle import loading

    loading.verify(asked.output)
    metrics = files.read_json(files.join(asked.output, loading.METRICS))
    if metrics.get("run") != run:
        raise UserError(not_empty(asked))
    print(f"nothing to do: this run's bundle is in {asked.output}")
    return metrics


def tell(asked: TrainRun, metrics: dict[str, Any]) -> None:
    """The closing line."""
    measured = next(
        (name for name in ("eval_accuracy", "eval_pearson") if name in metrics), "eval_loss"
    )
    print(
        f"{metrics['epochs']} epochs, best {metrics['best_epoch']}, "
        f"{measured.replace('_', ' ')} {metrics[measured]:.4f}, "
        f"threshold {metrics['threshold']:.4f}, {metrics['pairs_per_second']:.0f} pairs/s, "
        f"{metrics['seconds']:.0f} s in all; bundle in {asked.output}"
    )


def main() -> int:
    """Exit code 0 done, 2 unusable input, 1 failed."""
    return command_line.run_main(run)


if __name__ == "__main__":
    raise SystemExit(main())
