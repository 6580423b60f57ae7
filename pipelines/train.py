"""Trains a recipe's network on an examples folder and writes a bundle.

Local: python -m pipelines.train --examples examples --output bundle
Several machines: the same on each of them, with TF_CONFIG set.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from model.recipe import Recipe, describe_recipes, read_recipe
from model.threshold import EXPECTED, check_rule
from pipelines import options
from transforms import files
from transforms.drift import training_profile
from transforms.errors import RunError, UserError
from transforms.quiet import import_tensorflow

if TYPE_CHECKING:
    from model.examples import Examples
    from model.fitting import FitResult
    from model.strategy import Placement

EXAMPLE = "python -m pipelines.train --examples examples --output bundle --epochs 5"
STRATEGIES = ("auto", "one", "mirrored", "multi_worker")
PACKAGES = ("tensorflow", "keras", "numpy")


@dataclass(frozen=True)
class TrainRun:
    """All that a training run was asked for; what is None the recipe decides."""

    examples: str
    output: str
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
    from model.examples import open_examples, run_fingerprint

    with files.local_copy(asked.examples) as folder:
        examples = open_examples(folder)
        recipe = read_recipe(files.read_bytes(examples.recipe_path), where=examples.recipe_path)
        recipe = recipe.with_training(
            epochs=asked.epochs, seed=asked.seed, batch_size=asked.global_batch_size
        )
        if there:
            return finished(asked, run_fingerprint(recipe, examples))
        return train_recipe(asked, examples, recipe, started)


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


def half_written(names: Sequence[str]) -> bool:
    """Whether these are files of a bundle in a bucket that a run was killed in the midst of."""
    from model import bundle

    parts = {name.partition("/")[0] for name in names}
    return bool(parts) and parts <= set(bundle.PARTS)


def not_empty(asked: TrainRun) -> str:
    """What is said of a bundle that must not be replaced."""
    return f"{asked.output} is not empty; choose another folder, or give --overwrite"


def finished(asked: TrainRun, run: str) -> dict[str, Any]:
    """The metrics of the bundle that this very run has written before it was started again.

    Machines that are lost just after the bundle appeared start all workers once more.

    Raises:
        UserError: another run has written it, or it is not whole.
    """
    from model import bundle

    bundle.verify(asked.output)
    metrics = files.read_json(files.join(asked.output, bundle.METRICS))
    if metrics.get("run") != run:
        raise UserError(not_empty(asked))
    print(f"nothing to do: this run's bundle is in {asked.output}")
    return metrics


def train_recipe(
    asked: TrainRun, examples: Examples, recipe: Recipe, started: float
) -> dict[str, Any]:
    """Trains under the strategy that fits this place; the chief writes the bundle."""
    import_tensorflow()
    import keras

    from model import bundle
    from model.evaluation import measure
    from model.examples import run_fingerprint
    from model.fitting import CheckpointOptions, fit
    from model.profiler import similarity_range
    from model.reporter import Reporter
    from model.siamese import build_siamese
    from model.strategy import choose_strategy

    placement = choose_strategy(asked.strategy)
    chief = placement.cluster.is_chief
    print(placement.why, flush=True)
    keras.utils.set_random_seed(recipe.training.seed)
    vectors, coverage = start_vectors(recipe, examples)
    pretrained = pretrained_weights(recipe, examples, vectors)
    with placement.strategy.scope():
        siamese = build_siamese(recipe, vocabulary_size=examples.vocabulary_size, vectors=vectors)
    if pretrained:
        siamese.encoder.set_weights(pretrained)
    fitted = fit(
        siamese,
        recipe,
        examples,
        placement=placement,
        reporter=Reporter(silent=not chief, log_json=asked.log_json, tensorboard=asked.tensorboard),
        checkpoints=CheckpointOptions(
            asked.checkpoints, asked.checkpoint_steps, asked.checkpoint_minutes
        )
        if asked.checkpoints
        else None,
    )
    rule = asked.threshold_rule or recipe.training.threshold_rule
    threshold, measures = measure(recipe, fitted.evaluation, rule)
    metrics = {
        "run": run_fingerprint(recipe, examples),
        **describe_run(recipe, examples, placement, fitted),
        "threshold_rule": rule,
        **measures,
        **coverage,
        "profile": training_profile(
            examples.manifest, fitted.evaluation.similarity, similarity_range(recipe)
        ),
        "threshold": threshold,
        "seconds": round(time.time() - started, 3),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }
    if chief:
        bundle.export_bundle(
            asked.output,
            siamese=siamese,
            recipe=recipe,
            examples_dir=examples.folder,
            threshold=threshold,
            metrics=metrics,
            overwrite=asked.overwrite or half_written(files.list_folder(asked.output)),
        )
        tell(asked, metrics)
    wait_for_bundle(placement)
    return metrics


def wait_for_bundle(placement: Placement) -> None:
    """Nobody leaves before the bundle is there: workers that are gone cannot be started again.

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
    from model.vectors import load_vectors

    return load_vectors(recipe, examples)


def pretrained_weights(recipe: Recipe, examples: Examples, vectors: Any) -> list[Any]:
    """Weights of the encoder after pretraining, where the recipe asks for it."""
    epochs, seed = recipe.training.pretrain_epochs, recipe.training.seed
    if not epochs:
        return []
    from model.encoders import build_encoder
    from model.pretraining import pretrain
    from model.vectors import distinct_sentences

    size = examples.vocabulary_size
    encoder = build_encoder(recipe, vocabulary_size=size, vectors=vectors)
    pretrain(encoder, distinct_sentences(examples.train.files), epochs=epochs, seed=seed)
    return encoder.get_weights()


def describe_run(
    recipe: Recipe, examples: Examples, placement: Placement, fitted: FitResult
) -> dict[str, Any]:
    """What was trained where, and how it went, epoch by epoch."""
    history = fitted.history
    spent = sum(record["seconds"] for record in history)
    return {
        "recipe": recipe.name,
        "task": recipe.task,
        "vocabulary_size": examples.vocabulary_size,
        "rows_train": examples.manifest.get("rows_train"),
        "rows_eval": len(fitted.evaluation.labels),
        "strategy": placement.why.removeprefix("strategy: "),
        "replicas": placement.replicas,
        "global_batch_size": recipe.training.batch_size,
        "seed": recipe.training.seed,
        "epochs": len(history),
        "best_epoch": fitted.best_epoch,
        "training_seconds": round(spent, 3),
        "pairs_per_second": round(
            sum(record["seconds"] * record["pairs_per_second"] for record in history)
            / max(spent, 1e-9),
            1,
        ),
        "history": history,
        "versions": {name: version(name) for name in PACKAGES},
    }


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


def threshold_rule(text: str) -> str:
    """A flag's rule for the threshold."""
    try:
        return check_rule(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def parse(argv: Sequence[str]) -> TrainRun:
    """The run that the flags ask for."""
    parser = options.parser("train", __doc__ or "", EXAMPLE)
    parser.epilog = f"Example:\n  {EXAMPLE}"
    parser.add_argument("--examples", required=True, help="--output of pipelines.preprocess")
    parser.add_argument("--output", required=True, help="folder of the bundle, local or gs://")
    parser.add_argument("--overwrite", action="store_true", help="replace a bundle that is there")
    parser.add_argument("--list_recipes", action="store_true", help="list recipes and end")
    told = parser.add_argument_group("training", "what is not given the recipe decides")
    told.add_argument("--epochs", type=options.positive, help="times that all examples are seen")
    told.add_argument("--seed", type=int, help="of weights, order and dropout")
    told.add_argument(
        "--global_batch_size", type=options.positive, help="pairs of a step, over all replicas"
    )
    told.add_argument("--strategy", choices=STRATEGIES, default="auto", help="where to train")
    told.add_argument(
        "--threshold_rule",
        type=threshold_rule,
        metavar="RULE",
        help=f"chooses the label threshold on the eval part (default: the recipe's): {EXPECTED}",
    )
    kept = parser.add_argument_group("checkpoints and logs")
    kept.add_argument(
        "--checkpoints", metavar="DIR", help="keep checkpoints here, and go on from the last one"
    )
    kept.add_argument("--checkpoint_steps", type=options.positive, help="save every so many steps")
    kept.add_argument(
        "--checkpoint_minutes", type=float, default=10, help="save after so many minutes; 0: never"
    )
    kept.add_argument("--log_json", metavar="FILE", help="add a JSON line after each epoch")
    kept.add_argument("--tensorboard", metavar="DIR", help="write TensorBoard logs")
    given = vars(parser.parse_args(argv))
    given.pop("list_recipes")
    return TrainRun(**given)


def main() -> int:
    """Exit code 0 done, 2 unusable input, 1 failed."""
    return options.run_main(run)


if __name__ == "__main__":
    raise SystemExit(main())
