"""A version of a bundle in another precision: measured on the eval part, and written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from transforms.accounts.staging import Staging
from transforms.errors import RunError, UserError
from transforms.storage import files

if TYPE_CHECKING:
    from model.bundle.loading import LoadedBundle
    from model.dataset.examples import Examples
    from model.recipe import Recipe
    from model.training.evaluation import EvaluatedPairs


@dataclass(frozen=True)
class ExportOptions:
    """The options of an export."""

    model: str
    examples: str
    output: str
    precision: str = "int16"
    max_flipped: float = 0.001
    overwrite: bool = False


def export_claimed(options: ExportOptions, staging: Staging) -> dict[str, Any]:
    """Measures the new precision, and writes the bundle; returns its manifest.

    Raises:
        UserError: the bundle or its examples cannot be used.
        RunError: too many labels change, or another run has claimed the folder since.
    """
    from model.bundle.loading import load
    from model.bundle.precision import in_precision, write_in_precision
    from model.dataset.examples import open_examples
    from model.training.evaluation import measure

    old = load(options.model)
    with files.local_copy(options.examples) as local:
        examples = open_examples(local)
        metrics = check_examples(options, old, examples)
        sentences = training_sentences(old.recipe, examples)
        arrays = in_precision(options.model, options.precision, sentences)
        before, after = (evaluated(old, examples, one) for one in (None, arrays))
    rule = metrics["threshold_rule"]
    _, measured_before = measure(old.recipe, before, rule)
    threshold, measured_after = measure(old.recipe, after, rule)
    labels = labels_of(before, old.manifest["threshold"]), labels_of(after, threshold)
    found: dict[str, Any] = {
        "precision": options.precision,
        "pairs": len(after.labels),
        "flipped": float(np.mean(labels[0] != labels[1])),
        "similarity_differs": float(np.abs(before.similarity - after.similarity).max()),
        "before": measured_before,
        "after": measured_after,
    }
    print_measures(found, old.manifest["threshold"], threshold)
    if found["flipped"] > options.max_flipped:
        raise RunError(
            f"{options.precision} flips {found['flipped']:.4%} of the eval part's labels, more "
            f"than --max_flipped {options.max_flipped:.4%}; nothing is written: raise it, or "
            "keep the bundle as it is"
        )
    return write_in_precision(options.model, staging, arrays, threshold, found)


def check_examples(
    options: ExportOptions, bundle: LoadedBundle, examples: Examples
) -> dict[str, Any]:
    """Makes sure that the bundle came from these examples; its metrics.

    Raises:
        UserError: it did not, it is calibrated, or C++ does not know its encoder.
    """
    from model.bundle.loading import METRICS
    from model.dataset.examples import run_fingerprint

    if bundle.packed is None:
        raise UserError(
            f"--model {options.model}: only LSTMs, Transformers, BERTs and universal encoders have "
            "another precision, in bundles that hold encoder.npz, where the C++ library runs "
            "(make setup, AVX2)"
        )
    if "calibration" in bundle.manifest:
        raise UserError(
            f"--model {options.model} is calibrated; export the bundle it came from, score with "
            "it, and calibrate that"
        )
    metrics: dict[str, Any] = files.read_json(files.join(options.model, METRICS))
    if metrics.get("run") != run_fingerprint(bundle.recipe, examples):
        raise UserError(
            f"--examples {options.examples} are not those that {options.model} was trained on"
        )
    return metrics


def training_sentences(recipe: Recipe, examples: Examples) -> tuple[np.ndarray, np.ndarray]:
    """Ids of some thousand sentences of the training part in a row, and how many each has."""
    from model.dataset.batches import evaluation_batches

    batches = evaluation_batches(examples.train.records(recipe), batch_size=64)
    every = max(1, -(-examples.train.total // 64) // 32)
    picked = batches.shard(every, 0).take(32)  # by length: every length takes part
    return flat([batch[side].numpy() for batch in picked for side in ("ids1", "ids2")])


def flat(padded: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Ids [n, t], padded with 0 on the right, of several batches → ids in a row [m], lengths."""
    lengths = np.concatenate([(ids > 0).sum(axis=1) for ids in padded])
    return np.concatenate([ids[ids > 0] for ids in padded]), lengths


def evaluated(
    bundle: LoadedBundle, examples: Examples, arrays: dict[str, np.ndarray] | None
) -> EvaluatedPairs:
    """The eval part by a bundle, with its own encoder or one of other arrays."""
    from model.dataset.batches import evaluation_batches
    from model.kernels.encoders import open_encoder
    from model.training.evaluation import EvaluatedPairs

    encoder = bundle.packed if arrays is None else open_encoder(arrays)
    assert encoder is not None
    pieces: list[dict[str, np.ndarray]] = []
    records = examples.eval.records(bundle.recipe)
    for batch in evaluation_batches(records, batch_size=1024).as_numpy_iterator():
        sides = []
        for side in ("ids1", "ids2"):
            values, lengths = flat([batch[side]])
            encoder.check(values, lengths)
            sides.append(encoder.encode(values, np.cumsum(lengths) - lengths, lengths))
        pieces.append({**bundle.compare(*sides), "true": batch["label"]})
    joined = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    chances = joined.get("probabilities")
    predicted = None if chances is None else chances.argmax(axis=1)
    return EvaluatedPairs(joined["true"], joined["similarity"], float("nan"), predicted)


def labels_of(evaluation: EvaluatedPairs, threshold: float) -> np.ndarray:
    """The labels given: the class, or whether the similarity reaches the threshold."""
    if evaluation.predicted is not None:
        return evaluation.predicted
    return evaluation.similarity >= np.float32(threshold)


def print_measures(found: dict[str, Any], before: float, after: float) -> None:
    """What was measured, before → after."""
    for sides in (found["before"], found["after"]):
        sides.pop("eval_loss", None)  # of the network's output, which is not computed here
    for name, value in found["before"].items():
        print(f"{name:24}{value:8.4f} → {found['after'][name]:.4f}")
    print(f"{'threshold':24}{before:8.4f} → {after:.4f}")
    print(
        f"{found['pairs']} pairs; labels flipped: {found['flipped']:.4%}; greatest difference of a "
        f"similarity: {found['similarity_differs']:.6f}"
    )
