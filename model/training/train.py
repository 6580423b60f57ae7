"""Trains a recipe's network on an examples folder, and has the chief write the bundle."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from model.bundle import export
from model.bundle.export import half_written
from model.recipe.checks import doubts
from model.recipe.recipe import Recipe
from transforms.accounts.staging import Staging, claim_folder
from transforms.errors import RunError
from transforms.quiet_tensorflow import import_tensorflow
from transforms.storage import files

if TYPE_CHECKING:
    from model.dataset.examples import Examples
    from model.network.siamese import Siamese
    from model.training.checkpoints import CheckpointOptions
    from model.training.strategy import Placement


@dataclass(frozen=True)
class TrainOptions:
    """The options of a training run; the recipe decides what is None."""

    examples: str | None
    output: str
    recipe: str | None = None
    epochs: int | None = None
    seed: int | None = None
    global_batch_size: int | None = None
    strategy: str = "auto"
    threshold_rule: str | None = None
    checkpoints: str | None = None
    checkpoint_steps: int | None = None
    checkpoint_minutes: float = 10
    log_json: str | None = None
    tensorboard: str | None = None
    overwrite: bool = False
    init_from: str | None = None
    more_examples: tuple[str, ...] = ()
    eval_inputs: tuple[tuple[str, str], ...] = ()


def train_recipe(
    options: TrainOptions, examples: Examples, recipe: Recipe, started: float
) -> tuple[dict[str, Any], bool]:
    """Trains under the strategy that fits this place; the chief writes the bundle.

    Returns:
        The metrics, and whether this process is the chief.
    """
    import_tensorflow()
    from model.bundle.signatures import ServingModule
    from model.training.eval_inputs import measure_inputs, plan_eval_inputs
    from model.training.evaluation import measure_run
    from model.training.fitting import fit
    from model.training.reporter import Reporter
    from model.training.strategy import choose_strategy

    placement = choose_strategy(options.strategy)
    chief = placement.cluster.is_chief
    print(placement.why, flush=True)
    for doubt in doubts(recipe):
        print(f"recipe {recipe.name}: {doubt}", flush=True)
    planned = plan_eval_inputs(dict(options.eval_inputs), examples)
    checkpoints = checkpoint_options(options)
    with ExitStack() as claims:
        # Before training, as it takes long: of two runs the one that began later publishes, even
        # where the earlier one is ready after it.
        staging = claims.enter_context(claim_bundle(options)) if chief else None
        siamese, coverage = begin(options, examples, recipe, placement, checkpoints)
        fitted = fit(
            siamese,
            recipe,
            examples,
            placement=placement,
            reporter=Reporter(
                silent=not chief, log_json=options.log_json, tensorboard=options.tensorboard
            ),
            checkpoints=checkpoints,
        )
        metrics = measure_run(recipe, examples, placement, fitted) | coverage
        metrics["seconds"] = round(time.time() - started, 3)
        if staging is not None:
            if planned:
                score = ServingModule(
                    siamese, recipe, examples.folder, metrics["threshold"]
                ).signatures()
                metrics["eval_inputs"] = measure_inputs(
                    recipe, planned, score["score"], metrics["threshold"]
                )
            export.export_bundle(
                staging,
                siamese=siamese,
                recipe=recipe,
                examples_dir=examples.folder,
                threshold=metrics["threshold"],
                metrics=metrics,
            )
    wait_for_bundle(placement)
    return metrics, chief


def claim_bundle(options: TrainOptions) -> AbstractContextManager[Staging]:
    """Claims the output; what is left there of a bundle that was cut short may be replaced."""
    cut_short = half_written(files.list_folder(options.output))
    return claim_folder(options.output, overwrite=options.overwrite or cut_short)


def begin(
    options: TrainOptions,
    examples: Examples,
    recipe: Recipe,
    placement: Placement,
    checkpoints: CheckpointOptions | None,
) -> tuple[Siamese, dict[str, float]]:
    """The network with the weights that training begins with, and what word vectors covered.

    Only the chief looks for weights: `fit` gives its own to all the others.
    """
    import keras
    import numpy as np

    from model.initial.start_vectors import trained_ids
    from model.network.siamese import build_siamese

    keras.utils.set_random_seed(recipe.training.seed)
    fresh = placement.cluster.is_chief and options.init_from is None
    vectors, coverage = start_vectors(recipe, examples) if fresh else (None, {})
    pretrained = pretrained_weights(recipe, examples, vectors, checkpoints) if fresh else []
    ids = trained_ids(recipe, examples)
    for _, other in examples.more:
        further = trained_ids(recipe, other)
        if ids is not None and further is not None:
            ids = np.union1d(ids, further).astype(np.int32)
    if options.init_from is not None and recipe.encoder_kind.trains_used_ids:
        from model.initial.initial_weights import with_rows_of

        ids = with_rows_of(options.init_from, ids)
    keras.utils.set_random_seed(recipe.training.seed)  # the same dropout, whatever came before
    with placement.strategy.scope():
        siamese = build_siamese(
            recipe,
            vocabulary_size=examples.vocabulary_size,
            vectors=vectors,
            trained_ids=ids,
        )
    if pretrained:
        siamese.encoder.set_weights(pretrained)
    if options.init_from is not None and placement.cluster.is_chief:
        from model.initial.initial_weights import begin_with

        print(begin_with(options.init_from, siamese, recipe, examples), flush=True)
    return siamese, coverage


def wait_for_bundle(placement: Placement) -> None:
    """No worker exits before the bundle exists: workers that have gone cannot be restarted.

    Raises:
        RunError: the chief was lost; all workers must be started again.
    """
    if placement.cluster.workers == 1:
        return
    try:
        with placement.lost_workers():
            placement.gather(0)
    except RunError:
        if not placement.cluster.is_chief:  # for the chief all is done
            raise


def start_vectors(recipe: Recipe, examples: Examples) -> tuple[Any, dict[str, float]]:
    """Start values of the embedding, as the recipe says, and how many ids they cover."""
    if recipe.embedding is None or recipe.embedding.vectors is None:
        return None, {}
    from model.initial.start_vectors import load_vectors

    return load_vectors(recipe, examples)


def checkpoint_options(options: TrainOptions) -> CheckpointOptions | None:
    """Where and how often the run's checkpoints are kept, if they are."""
    from model.training.checkpoints import CheckpointOptions

    if not options.checkpoints:
        return None
    return CheckpointOptions(
        options.checkpoints, options.checkpoint_steps, options.checkpoint_minutes
    )


def pretrained_weights(
    recipe: Recipe, examples: Examples, vectors: Any, checkpoints: CheckpointOptions | None
) -> list[Any]:
    """Weights of the encoder after pretraining, where the recipe asks for it.

    None where training itself has begun: its checkpoint holds what became of them.
    """
    epochs, seed = recipe.training.pretrain_epochs, recipe.training.seed
    if not epochs or (checkpoints and checkpoints.begun):
        return []
    from model.dataset.examples import run_fingerprint
    from model.initial.start_vectors import distinct_sentences
    from model.network.encoders import build_encoder
    from model.training.pretraining import pretrain

    size = examples.vocabulary_size
    encoder = build_encoder(recipe, vocabulary_size=size, vectors=vectors)
    pretrain(
        encoder,
        distinct_sentences(examples.train.files),
        epochs=epochs,
        seed=seed,
        checkpoints=checkpoints and checkpoints.inside("pretraining"),
        run=run_fingerprint(recipe, examples),
    )
    return encoder.get_weights()
