"""The eval part as the network sees it, how good that is, and the metrics of a finished run."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from model.recipe.recipe import Recipe, similarity_range
from model.threshold import choose_threshold
from transforms.drift import training_profile

if TYPE_CHECKING:
    from model.dataset.examples import Examples
    from model.training.fitting import FitResult
    from model.training.strategy import Placement

PACKAGES = ("tensorflow", "keras", "numpy")


@dataclass(frozen=True)
class EvaluatedPairs:
    """What is kept of the eval part.

    Attributes:
        labels: of the pairs, or class indices, [n].
        similarity: [n].
        loss: mean of the examples.
        predicted: class indices [n], for several classes.
        shorter: number of floats → similarities [n] by that many first ones.
    """

    labels: np.ndarray
    similarity: np.ndarray
    loss: float
    predicted: np.ndarray | None = None
    shorter: dict[int, np.ndarray] = field(default_factory=dict)


def evaluate(recipe: Recipe, step: Callable, batches: Iterator[Any], steps: int) -> EvaluatedPairs:
    """Run so many steps; rows of weight 0 (padding, where a replica had none) are left out."""
    parts = []
    for _ in range(steps):
        part = {name: value.numpy() for name, value in step(next(batches)).items()}
        real = part["weight"] > 0
        parts.append({name: value[real] for name, value in part.items()})
    found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    weight = found["weight"]
    if recipe.reads_triplets or recipe.reads_positives:
        # An example is two pairs here, and its loss stands with the first, the similar one.
        weight = weight[found["label"] > 0.5]
    mean = float(found["loss"].sum(dtype=np.float64) / weight.sum(dtype=np.float64))
    shorter = {size: found[f"similarity_{size}"] for size in recipe.shorter}
    return EvaluatedPairs(
        found["label"], found["similarity"], mean, found.get("predicted"), shorter
    )


def monitored(recipe: Recipe) -> str:
    """The name of what epochs are compared by, as `history` has it: `training.monitor`.

    Without one, the threshold rule's own measure for two classes, so that the epoch is chosen by
    what the threshold is chosen by; the accuracy of several classes; Pearson's of numbers.
    """
    if recipe.training.monitor:
        return f"eval_{recipe.training.monitor}"
    if recipe.task != "binary":
        return "eval_pearson" if recipe.task == "regression" else "eval_accuracy"
    rule = recipe.training.threshold_rule
    named = {"logistic": "accuracy", "balanced_logistic": "balanced_accuracy"}.get(rule, rule)
    named = "accuracy" if rule.startswith("fixed=") else named
    plain = named in ("accuracy", "balanced_accuracy", "f1")
    return f"eval_{named}" if plain else "eval_rule_score"


def quality(recipe: Recipe, evaluation: EvaluatedPairs) -> float:
    """The measure by which epochs are compared, see `monitored`.

    Two classes are separated at the threshold that suits the measure: a margin loss puts similar
    pairs anywhere between 0 and 1, and a cut at 0.5 would keep the wrong epoch.
    """
    similar, labels = evaluation.similarity, evaluation.labels
    match recipe.training.monitor:
        case "loss":
            return evaluation.loss
        case "pearson":
            return pearson(similar, labels)
        case "spearman":
            return spearman(similar, labels)
        case "roc_auc" | "pr_auc":
            return _ranking(recipe.training.monitor, similar, labels)
        case "macro_f1":
            return macro_f1(labels, _predicted(recipe, evaluation))
        case "f1":
            return choose_threshold(similar, labels, "f1")[1]
        case None if recipe.task == "regression":
            return pearson(similar, labels)
        case None if recipe.task == "binary":
            return _threshold(recipe, evaluation, recipe.training.threshold_rule)[1]
        case _:
            return float(np.mean(_predicted(recipe, evaluation) == labels))


def better(recipe: Recipe, value: float, than: float) -> bool:
    """Whether a value of `quality` beats another: the higher one, but of losses the lower one."""
    return value < than if recipe.training.monitor == "loss" else value > than


def _predicted(recipe: Recipe, evaluation: EvaluatedPairs) -> np.ndarray:
    """Classes [n]; of two, by the cut that separates most pairs rightly."""
    if evaluation.predicted is not None:
        return evaluation.predicted
    threshold, _ = choose_threshold(evaluation.similarity, evaluation.labels)
    return evaluation.similarity >= np.float32(threshold)


def _threshold(recipe: Recipe, evaluation: EvaluatedPairs, rule: str) -> tuple[float, float]:
    """The threshold by a rule, and its score."""
    return choose_threshold(
        evaluation.similarity,
        evaluation.labels,
        rule,
        probabilities=recipe.loss_kind.probabilities,
    )


def _ranking(name: str, similar: np.ndarray, labels: np.ndarray) -> float:
    """The area under a curve; 0.5 and the share of positives are those of chance."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    if not 0 < labels.sum() < len(labels):
        return 0.0  # one label only: nothing can be ranked, so no epoch is better than another
    score = roc_auc_score if name == "roc_auc" else average_precision_score
    return float(score(labels, similar))


def macro_f1(labels: np.ndarray, predicted: np.ndarray) -> float:
    """The mean of each class's F1, of the classes that occur on either side."""
    from sklearn.metrics import f1_score

    return float(f1_score(labels.astype(int), predicted.astype(int), average="macro"))


def measure(
    recipe: Recipe, evaluation: EvaluatedPairs, rule: str
) -> tuple[float, dict[str, float]]:
    """The label threshold, and the measures that go into `metrics.json`.

    Of numbers, the threshold is the middle of the labels' range.
    """
    if recipe.task == "regression":
        threshold = sum(recipe.label_range) / 2
    elif recipe.task == "classes":
        threshold = 0.5
    else:
        threshold, _ = _threshold(recipe, evaluation, rule)
    found = measures_at(recipe, evaluation, threshold)
    measures = {f"eval_{name}": value for name, value in found.items()}
    return threshold, {"eval_loss": evaluation.loss, **measures}


def measure_shorter(
    recipe: Recipe, evaluation: EvaluatedPairs, rule: str
) -> dict[str, dict[str, float]]:
    """The measures of vectors cut to fewer floats, each length with its own threshold."""
    found = {}
    for size, similar in evaluation.shorter.items():
        threshold, measures = measure(recipe, replace(evaluation, similarity=similar), rule)
        measures.pop("eval_loss")  # that of all sizes together
        found[str(size)] = {"threshold": threshold, **measures}
    return found


def measures_at(recipe: Recipe, evaluation: EvaluatedPairs, threshold: float) -> dict[str, float]:
    """All measures of a task, where two classes are separated by this threshold."""
    similar, labels = evaluation.similarity, evaluation.labels
    if recipe.task == "regression":
        return {"pearson": pearson(similar, labels), "spearman": spearman(similar, labels)}
    if recipe.task == "classes":
        predicted = _predicted(recipe, evaluation)
        accuracy = float(np.mean(predicted == labels))
        return {"accuracy": accuracy, "macro_f1": macro_f1(labels, predicted)}
    measures = {
        "accuracy": float(np.mean((similar >= np.float32(threshold)) == labels)),
        "accuracy_at_half": float(np.mean((similar >= 0.5) == labels)),
    }
    if 0 < labels.sum() < len(labels):
        measures["roc_auc"] = _ranking("roc_auc", similar, labels)
        measures["pr_auc"] = _ranking("pr_auc", similar, labels)
    return measures


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


def measure_run(
    recipe: Recipe, examples: Examples, placement: Placement, fitted: FitResult
) -> dict[str, Any]:
    """The metrics of a finished run, its threshold among them."""
    from model.dataset.examples import run_fingerprint

    rule = recipe.training.threshold_rule
    threshold, measures = measure(recipe, fitted.evaluation, rule)
    shorter = measure_shorter(recipe, fitted.evaluation, rule)
    return {
        "run": run_fingerprint(recipe, examples),
        **describe_run(recipe, examples, placement, fitted),
        "threshold_rule": rule,
        **measures,
        **({"shorter": shorter} if shorter else {}),
        "profile": training_profile(
            examples.manifest, fitted.evaluation.similarity, similarity_range(recipe)
        ),
        "trained_on": examples.manifest.get("input_files", {}),
        "threshold": threshold,
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def describe_run(
    recipe: Recipe, examples: Examples, placement: Placement, fitted: FitResult
) -> dict[str, Any]:
    """What was trained where, and how it went, epoch by epoch."""
    history = fitted.history
    spent = sum(record["seconds"] for record in history)
    pairs = sum(record["seconds"] * record["pairs_per_second"] for record in history)
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
        "pairs_per_second": round(pairs / max(spent, 1e-9), 1),
        "history": history,
        "versions": {name: version(name) for name in PACKAGES},
    }
