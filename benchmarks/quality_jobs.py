"""The jobs of `benchmarks.quality`: which recipe learns from what, is measured on what, and how."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

CHARACTERS = ("char-bilstm-manhattan", "char-bilstm-euclidean")
SMALL = ("cnn", "transformer", "euclidean-contrastive", "triplet-semi-hard", "triplet-hard")


@dataclass(frozen=True)
class Job:
    """A recipe, the file it is trained on, and the files it is measured on.

    Attributes:
        recipe: its name.
        train: file of labelled pairs, without its folder and `.parquet`; None takes the recipe's
            pre-trained model as it is.
        measured: file → the least value to reach (None where none is set).
        metric: `accuracy`, `roc_auc`, `pearson` or `spearman`.
        label: name of the label column.
        parts: what the recipe says otherwise for this data, part by part.
        untrained: whether the model is also measured off the shelf.
        teacher: name of a job before this one, whose bundle it also learns from.
        variant: sets jobs of one recipe and file apart.
        dimensions: so many first floats are measured too.
        rounded: whether the recipe learns classes, the labels rounded to whole numbers.
        by_vectors: whether the cosine of the two vectors is measured in place of the recipe's own
            similarity.
    """

    recipe: str
    train: str | None
    measured: dict[str, float | None]
    metric: str = "accuracy"
    label: str = "label"
    parts: dict[str, Any] = field(default_factory=dict)
    untrained: bool = False
    teacher: str | None = None
    variant: str = ""
    dimensions: int | None = None
    rounded: bool = False
    by_vectors: bool = False

    @property
    def name(self) -> str:
        """Such as `twin-best.bq_train80k`."""
        variant = f".{self.variant}" if self.variant else ""
        return f"{self.recipe}.{self.train or f'as_it_comes.{self.metric}'}{variant}"


BQ: dict[str, float | None] = {"bq_dev": None, "bq_valid20k": None}
# Three times the pairs and eleven times the sentences of BQ: fewer epochs, and less dropout, since
# most sentences of new pairs are known. Of its training pairs
# 58 % are similar, of the measured ones half. Its labels are not transitive.
LCQMC: dict[str, Any] = {
    "labels": {"transitive": 0},
    "embedding": {"dropout": 0.1, "token_dropout": 0.0},
    "encoder": {"dropout": 0.2},
    "comparison": {"dropout": 0.1},
    "training": {
        "epochs": 5,
        "pretrain_epochs": 1,
        "average": 0.995,
        "threshold_rule": "balanced_logistic",
    },
}
SICK_LABELS = {"labels": {"minimum": 1, "maximum": 5}}
SICK_CLASSES = {"metric": "accuracy", "label": "entailment"}
RELATED = {"metric": "pearson", "label": "relatedness"}
RANKS: dict[str, Any] = {
    "measured": {"stsb_en_dev": 0.900},
    "metric": "spearman",
    "label": "relatedness",
}

# Its labels are as LCQMC's are said to be above: most of the measured sentences are known, and the
# training pairs are not as often similar as the measured ones.
UNIVERSAL_LCQMC: dict[str, Any] = {
    "labels": {"transitive": 0},
    "training": {"epochs": 2, "threshold_rule": "balanced_logistic"},
}
# Shares of a teacher's score and of the label; twin-best reads characters, its teacher pieces.
TAUGHT: dict[str, Any] = {"distill": {"weight": 0.7}}
RANKED: dict[str, Any] = {"loss": {"kind": "cosent"}}
# The vectors that a softmax over the whole points of relatedness makes, everything else the same.
SOFTMAX: dict[str, Any] = {
    "labels": {"classes": [str(point) for point in range(6)], "similar": "5"},
    "training": {"epochs": 4, "learning_rate": 0.00002},
}
NESTED: dict[str, Any] = {"loss": {"kind": "cosent", "matryoshka": [192, 96, 48]}}

JOBS = (
    # To reach: the package's own forward pass, less 0.001.
    Job("universal-cosine", None, {"lcqmc_dev": 0.8554, "bq_dev": 0.7619}, metric="roc_auc"),
    Job(
        "universal-cosine",
        None,
        {"stsb_en_dev": 0.8284},
        metric="spearman",
        label="relatedness",
    ),
    Job("universal-finetuned", "bq_train80k", {"bq_dev": 0.850, "bq_valid20k": None}),
    Job("universal-finetuned", "lcqmc_train", {"lcqmc_dev": 0.870}, parts=UNIVERSAL_LCQMC),
    Job("twin-best", "bq_train80k", {"bq_dev": 0.830, "bq_valid20k": 0.88}),
    Job(
        "twin-best",
        "bq_train80k",
        {"bq_dev": 0.840, "bq_valid20k": None},
        parts=TAUGHT,
        teacher="universal-finetuned.bq_train80k",
        variant="taught",
    ),
    Job("char-bilstm-manhattan", "bq_train80k", {**BQ, "bq_valid20k": 0.7903}),
    Job("twin-best", "lcqmc_train", {"lcqmc_dev": 0.82}, parts=LCQMC),
    Job("bert-mean-cosine", "sick_train", {"sick_trial": 0.89}, **RELATED, parts=SICK_LABELS),
    Job(
        "bert-mean-cosine",
        "stsb_en_train",
        {"stsb_en_dev": None},  # its goal is set from the model off the shelf
        metric="spearman",
        label="relatedness",
        untrained=True,
    ),
    Job("bert-mean-cosine", "stsb_en_train", **RANKS, parts=RANKED, variant="cosent"),
    Job(
        "bert-mean-cosine",
        "stsb_en_train",
        **RANKS,
        parts=NESTED,
        variant="matryoshka",
        dimensions=96,
    ),
    Job(
        "concat-absdiff-softmax",
        "stsb_en_train",
        {"stsb_en_dev": None},
        metric="spearman",
        label="relatedness",
        parts=SOFTMAX,
        rounded=True,
        by_vectors=True,
    ),
    Job("concat-absdiff-softmax", "sick_train", {"sick_trial": 0.80}, **SICK_CLASSES),
    Job("glove-concat-absdiff-softmax", "sick_train", {"sick_trial": 0.72}, **SICK_CLASSES),
    Job("cosine-mse", "sick_train", {"sick_trial": None}, **RELATED),
    Job("char-bilstm-euclidean", "bq_train80k", BQ),
    *(Job(name, "bq_train80k", BQ) for name in SMALL),
)
KEPT = 0.98  # what a quarter of the floats must keep of the value by all of them
GAIN = 0.02  # what training must add to a model that is also measured off the shelf
