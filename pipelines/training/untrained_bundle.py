"""A pre-trained model without fine-tuning, as a bundle."""

from __future__ import annotations

import tempfile
from typing import Any

from model.bundle.untrained import check_untrained, export_untrained, run_of
from model.recipe.needed_files import check_files
from model.recipe.reading import load_recipe
from model.training.train import TrainOptions
from pipelines.training.bundle_output import bundle_exists, finished
from transforms.accounts.staging import claim_folder


def make_untrained(options: TrainOptions) -> dict[str, Any]:
    """A recipe's pre-trained model → bundle, without fine-tuning; the same again does nothing.

    Raises:
        UserError: the recipe needs training, a file of it is missing, or the folder is not free.
    """
    recipe = load_recipe(str(options.recipe))
    check_untrained(recipe)
    check_files(recipe)
    if bundle_exists(options) and not options.overwrite:
        return finished(options, recipe, run_of(recipe))
    from pipelines.examples.transform_graph import given_vocabulary, write_graph

    vocabulary = given_vocabulary(recipe)
    with (
        claim_folder(options.output, overwrite=options.overwrite) as staging,
        tempfile.TemporaryDirectory(prefix="twinbeam-graph-") as graph,
    ):
        write_graph(recipe, vocabulary, graph)
        metrics = export_untrained(
            recipe,
            vocabulary_size=vocabulary.size,
            graph=graph,
            staging=staging,
        )
    assert recipe.untrained is not None
    threshold, source = recipe.untrained.threshold, recipe.untrained.measured_on
    print(f"{recipe.name} without fine-tuning; threshold {threshold:g}, measured on {source}")
    print(f"bundle in {options.output}")
    return metrics
