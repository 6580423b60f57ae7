"""A bundle of a pre-trained model without fine-tuning: no training, and no labels needed."""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from typing import Any

from model.bundle.export import export_bundle
from model.recipe.recipe import Recipe
from transforms.accounts.staging import Staging
from transforms.errors import UserError
from transforms.quiet_tensorflow import import_tensorflow

PACKAGES = ("tensorflow", "keras", "numpy")


def check_untrained(recipe: Recipe) -> None:
    """Refuses recipes that are nothing without training, or do not say where to cut.

    Raises:
        UserError: says what is missing.
    """
    if recipe.needs_training is not None:
        raise UserError(
            f"recipe {recipe.name} must be trained: {recipe.needs_training}; make examples with "
            "twinbeam preprocess and give them as --examples"
        )
    if recipe.untrained is None:
        raise UserError(
            f"recipe {recipe.name} does not say at which similarity sentences are similar before "
            "training; add 'untrained: {threshold: …, measured_on: …}' to it"
        )


def run_of(recipe: Recipe) -> str:
    """Names what comes of a recipe without training, as `run_fingerprint` names a training run."""
    return hashlib.sha256(recipe.to_yaml().encode()).hexdigest()


def export_untrained(
    recipe: Recipe,
    *,
    vocabulary_size: int,
    graph: str,
    staging: Staging,
    run: str | None = None,
) -> dict[str, Any]:
    """Writes the bundle, and returns its metrics.

    Args:
        recipe: says which pre-trained model, and the threshold.
        vocabulary_size: ids in use, padding included; 0 where text goes in raw.
        graph: folder with the recipe's transform graph.
        staging: the output folder, as the run claimed it.
        run: names what it was made from (default: the recipe's own name of that).
    """
    import_tensorflow()
    from model.network.siamese import build_siamese

    assert recipe.untrained is not None
    metrics = {
        "run": run or run_of(recipe),
        "recipe": recipe.name,
        "task": recipe.task,
        "vocabulary_size": vocabulary_size,
        "rows_train": 0,
        "threshold_measured_on": recipe.untrained.measured_on,
        "versions": {name: version(name) for name in PACKAGES},
    }
    export_bundle(
        staging,
        siamese=build_siamese(recipe, vocabulary_size=vocabulary_size),
        recipe=recipe,
        examples_dir=graph,
        threshold=recipe.untrained.threshold,
        metrics=metrics,
    )
    return metrics
