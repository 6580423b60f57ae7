"""The output of a run that makes a bundle: whether it is free, or holds the same bundle already."""

from __future__ import annotations

from typing import Any

from model.bundle.export import half_written
from model.recipe.reading import read_recipe
from model.recipe.recipe import Recipe
from model.training.train import TrainOptions
from transforms.errors import UserError
from transforms.storage import files


def bundle_exists(options: TrainOptions) -> bool:
    """Whether a bundle is in the output folder.

    Raises:
        UserError: something else does.
    """
    names = files.list_folder(options.output)
    if names and "manifest.json" not in names:
        raise UserError(
            f"{options.output} holds {names[0]!r} and is not a bundle; choose another folder"
        )
    return bool(names)


def is_bundle_kept(options: TrainOptions) -> bool:
    """Refuses to write over anything but a bundle, and over that without permission.

    Returns:
        Whether there is a bundle that the same run may have written.
    """
    if options.checkpoints and half_written(files.list_folder(options.output)):
        return False
    return bundle_exists(options) and not options.overwrite


def finished(options: TrainOptions, recipe: Recipe, run: str) -> dict[str, Any]:
    """The metrics of the bundle that the same run has written before it was started again.

    Machines that are lost just after the bundle appeared start all workers once more, and a person
    may type the same command again.

    Raises:
        UserError: another run has written it, or it is not complete.
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
