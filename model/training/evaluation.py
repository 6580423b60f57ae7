"""The eval part as the network sees it, and how good that is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from model.network.siamese import similarity
from model.recipe.recipe import Recipe
from model.threshold import choose_threshold

MEASURES = {"binary": "accuracy", "classes": "accuracy", "regression": "pearson"}


@dataclass(frozen=True)
class EvaluatedPairs:
    """Outputs [n] or [n, classes], labels [n], similarities [n], mean loss of the examples."""

    output: np.ndarray
    labels: np.ndarray
    similarity: np.ndarray
    loss: float


def evaluate(recipe: Recipe, step: Callable, batches: Iterator[Any], steps: int) -> EvaluatedPairs:
    """Run so many steps; rows of weight 0 (made up, where a replica had none) are left out."""
    parts = []
    for _ in range(steps):
        part = {name: value.numpy() for name, value in step(next(batches)).items()}
        real = part.pop("weight") > 0
        parts.append({name: value[real] for name, value in part.items()})
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    similar = np.asarray(similarity(recipe, whole["output"]), np.float32)
    mean = float(np.mean(whole["loss"], dtype=np.float64))
    return EvaluatedPairs(whole["output"], whole["label"], similar, mean)


def quality(recipe: Recipe, evaluation: EvaluatedPairs) -> float:
    """The measure by which epochs are compared, named in `MEASURES`; greater is better.

    Two classes are told apart at the threshold that tells most pairs right: a margin loss puts
    alike pairs anywhere between 0 and 1, and a cut at 0.5 would keep the wrong epoch.
    """
    similar, labels = evaluation.similarity, evaluation.labels
    if recipe.task == "regression":
        return pearson(similar, labels)
    if recipe.task == "classes":
        return float(np.mean(evaluation.output.argmax(axis=1) == labels))
    return choose_threshold(similar, labels)[1]


def measure(
    recipe: Recipe, evaluation: EvaluatedPairs, rule: str
) -> tuple[float, dict[str, float]]:
    """The label threshold, and the measures that go into `metrics.json`.

    Of numbers, the threshold is the middle of the labels' range.
    """
    similar, labels = evaluation.similarity, evaluation.labels
    measures = {"eval_loss": evaluation.loss}
    if recipe.task == "regression":
        measures |= {
            "eval_pearson": pearson(similar, labels),
            "eval_spearman": spearman(similar, labels),
        }
        return sum(recipe.label_range) / 2, measures
    if recipe.task == "classes":
        return 0.5, measures | {"eval_accuracy": quality(recipe, evaluation)}
    threshold, _ = choose_threshold(similar, labels, rule)
    predicted = similar >= np.float32(threshold)
    measures["eval_accuracy"] = float(np.mean(predicted == labels))
    measures["eval_accuracy_at_half"] = float(np.mean((similar >= 0.5) == labels))
    if 0 < labels.sum() < len(labels):
        from sklearn.metrics import roc_auc_score

        measures["eval_roc_auc"] = float(roc_auc_score(labels, similar))
    return threshold, measures


def spearman(left: np.ndarray, right: np.ndarray) -> float:
    """Spearman's correlation: Pearson's of the ranks, equal values sharing their mean rank."""
    from scipy.stats import rankdata

    return pearson(rankdata(left), rankdata(right))


def pearson(left: np.ndarray, right: np.ndarray) -> float:
    """Pearson's correlation; 0 where one side does not vary."""
    left, right = np.asarray(left, np.float64), np.asarray(right, np.float64)
    left, right = left - left.mean(), right - right.mean()
    norm = np.sqrt((left @ left) * (right @ right))
    return float(left @ right / norm) if norm > 0 else 0.0
