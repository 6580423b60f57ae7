"""The eval part as the network sees it, and how good that is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from model.recipe import Recipe
from model.siamese import similarity

MEASURES = {"binary": "accuracy", "classes": "accuracy", "regression": "pearson"}


@dataclass(frozen=True)
class Evaluation:
    """Outputs [n] or [n, classes], labels [n], similarities [n], mean loss of the examples."""

    output: np.ndarray
    labels: np.ndarray
    similarity: np.ndarray
    loss: float


def evaluate(recipe: Recipe, step: Callable, batches: Iterator[Any], steps: int) -> Evaluation:
    """Run so many steps; rows of weight 0 (made up, where a replica had none) are left out."""
    parts = []
    for _ in range(steps):
        part = {name: value.numpy() for name, value in step(next(batches)).items()}
        real = part.pop("weight") > 0
        parts.append({name: value[real] for name, value in part.items()})
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    alike = np.asarray(similarity(recipe, whole["output"]), np.float32)
    mean = float(np.mean(whole["loss"], dtype=np.float64))
    return Evaluation(whole["output"], whole["label"], alike, mean)


def quality(recipe: Recipe, evaluation: Evaluation) -> float:
    """The measure by which epochs are compared, named in `MEASURES`; greater is better.

    Two classes count as told apart at a similarity of 0.5.
    """
    labels = evaluation.labels
    if recipe.task == "regression":
        return pearson(evaluation.similarity, labels)
    if recipe.task == "classes":
        return float(np.mean(evaluation.output.argmax(axis=1) == labels))
    return float(np.mean((evaluation.similarity >= 0.5) == labels))


def pearson(left: np.ndarray, right: np.ndarray) -> float:
    """Pearson's correlation; 0 where one side does not vary."""
    left, right = np.asarray(left, np.float64), np.asarray(right, np.float64)
    left, right = left - left.mean(), right - right.mean()
    norm = np.sqrt((left @ left) * (right @ right))
    return float(left @ right / norm) if norm > 0 else 0.0
