"""Recipes: YAML files that say which encoder, comparison and loss make a model. No TensorFlow here.

`reading` reads one from YAML and checks it: every key and value, and that its parts fit together.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import PlainValidator, SerializeAsAny

from model.recipe import parts
from model.recipe.kind_rows import ComparisonKind, EncoderKind, LossKind, Task
from model.recipe.kinds import COMPARISONS, ENCODERS, LOSSES, read_part
from model.recipe.paths import resolve_path
from transforms.labels import LabelRule


class Recipe(parts.Part):
    """Everything that decides a model but its data."""

    name: str
    description: str
    source: str
    task: Task
    labels: parts.Labels = parts.Labels()
    text: parts.Text
    embedding: parts.Embedding | None = None
    encoder: Annotated[SerializeAsAny[parts.Kinded], PlainValidator(partial(read_part, "encoder"))]
    comparison: Annotated[
        SerializeAsAny[parts.Kinded], PlainValidator(partial(read_part, "comparison"))
    ]
    loss: Annotated[SerializeAsAny[parts.Kinded], PlainValidator(partial(read_part, "loss"))]
    distill: parts.Distill | None = None
    training: parts.Training = parts.Training()
    untrained: parts.Untrained | None = None

    @property
    def encoder_kind(self) -> EncoderKind:
        """The row of its encoder."""
        return ENCODERS[self.encoder.kind]

    @property
    def comparison_kind(self) -> ComparisonKind:
        """The row of its comparison."""
        return COMPARISONS[self.comparison.kind]

    @property
    def loss_kind(self) -> LossKind:
        """The row of its loss."""
        return LOSSES[self.loss.kind]

    @property
    def label_rule(self) -> LabelRule:
        """How labels of the data are read."""
        return LabelRule(self.labels.classes, self.labels.minimum, self.labels.maximum)

    @property
    def label_range(self) -> tuple[float, float]:
        """Least and greatest label: 0 and 1 for two classes, else the range of the numbers."""
        if self.task == "regression":
            return float(self.labels.minimum or 0.0), float(self.labels.maximum or 0.0)
        return 0.0, float(max(len(self.labels.classes or ()) - 1, 1))

    @property
    def similar_class(self) -> int:
        """Index of the class whose probability is the similarity."""
        classes = self.labels.classes or ()
        return classes.index(self.labels.similar) if self.labels.similar else len(classes) - 1

    @property
    def reads_text(self) -> bool:
        """Whether the encoder takes raw sentences instead of ids."""
        return self.text.tokenizer == "none"

    @property
    def reads_triplets(self) -> bool:
        """Whether the data are triplets: an anchor, a positive and a negative a row."""
        return isinstance(self.loss, parts.Triplet) and self.loss.mining == "given"

    @property
    def reads_positives(self) -> bool:
        """Whether the data are similar pairs alone, without a label."""
        labels = self.labels
        return self.task == "binary" and self.loss_kind.positives_suffice and not labels.classes

    @property
    def learns_vectors(self) -> bool:
        """Whether vectors are pulled to those of a teacher."""
        return self.distill is not None and self.distill.vectors > 0

    @property
    def shorter(self) -> tuple[int, ...]:
        """Numbers of first floats that vectors can be cut to, ascending; see `VectorLoss`."""
        return tuple(sorted({*getattr(self.loss, "matryoshka", ())}))

    @property
    def looks_across(self) -> bool:
        """Whether a pair's loss depends on the other pairs of its batch."""
        return self.loss_kind.across and not self.reads_triplets

    @property
    def needs_training(self) -> str | None:
        """Which part has nothing but random weights before training; None where all of it works."""
        if not self.encoder_kind.pretrained:
            return f"encoder {self.encoder.kind} knows nothing before it is trained"
        if self.comparison_kind.output == "logit":
            return f"comparison {self.comparison.kind} knows nothing before it is trained"
        return None

    @property
    def token_dropout(self) -> float:
        """The share of tokens that training shows as unknown ones."""
        of_encoder = getattr(self.encoder, "token_dropout", 0.0)
        return self.embedding.token_dropout if self.embedding else of_encoder

    @property
    def symmetric(self) -> bool:
        """Whether the similarity of (a, b) is that of (b, a)."""
        return self.comparison_kind.symmetric

    @property
    def padding_changes_bits(self) -> bool:
        """Whether the last bits of a vector depend on how far its sentence is padded.

        A state and a maximum pass over padding, and a recurrent encoder's mean is added up in
        order; the sums of attention round another way when there are more zeros in them.
        """
        return getattr(self.encoder, "pooling", None) not in self.encoder_kind.bits_kept_by

    @property
    def vocabulary_path(self) -> str | None:
        """The file of the tokenizer's vocabulary; nothing where the vocabulary is learned."""
        if self.text.tokenizer not in ("wordpiece", "sentencepiece"):
            return None
        if self.text.vocabulary:
            return resolve_path(self.text.vocabulary)
        assert isinstance(self.encoder, parts.Bert | parts.Universal)
        folder = Path(resolve_path(self.encoder.preset))
        if self.text.tokenizer == "wordpiece":
            # Both have the same pieces; recent folders have only the second.
            names = ("vocab.txt", "tokenizer.json")
            return str(
                next((folder / n for n in names if (folder / n).is_file()), folder / names[0])
            )
        universal = isinstance(self.encoder, parts.Universal)
        return str(folder / ("sp.model" if universal else "sentencepiece.bpe.model"))

    def to_yaml(self) -> str:
        """The recipe as YAML, with its defaults written out."""
        return yaml.safe_dump(
            self.model_dump(mode="json", exclude_none=True), sort_keys=False, allow_unicode=True
        )


def similarity_range(recipe: Recipe) -> tuple[float, float]:
    """Least and greatest similarity: 0 and 1, except for number labels."""
    return recipe.label_range if recipe.task == "regression" else (0.0, 1.0)
