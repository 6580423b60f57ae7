"""Comparisons: from the vectors of two sentences to one output. No weights, or a dense head.

`model.recipe.kinds` has a row for each. Its output is what its loss computes best with, and
`siamese.similarity` makes a similarity of it:

| kind | features | output | symmetric |
| --- | --- | --- | --- |
| manhattan | Σ|u−v| | −distance, the log of the similarity exp(−distance) | yes |
| euclidean | √Σ(u−v)² | −distance, the log of the similarity exp(−distance) | yes |
| cosine | u·v / |u||v| | the cosine, −1…1 | yes |
| l1 | 1−|u−v| | logit of a dense head, or one for each class | yes |
| absdiff_product | [|u−v|, u·v] | the same | yes |
| concat | [u, v] | the same | no |
| concat_absdiff | [u, v, |u−v|] | the same | no |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from model.network.dropout import StepDropout
from model.network.pooling import PACKAGE
from model.recipe import parts
from model.recipe.kind_rows import resolve
from model.recipe.kinds import COMPARISONS

if TYPE_CHECKING:
    from model.recipe.recipe import Recipe

_SMALL = 1e-12


def manhattan(u: Any, v: Any) -> Any:
    """Vectors […, d] → distances […]."""
    return ops.sum(ops.abs(u - v), axis=-1)


def euclidean(u: Any, v: Any) -> Any:
    """Vectors […, d] → distances […], at least 1e-6: the root has no gradient at zero."""
    # Below _SMALL the maximum passes no gradient on, so equal vectors give 0 and not 0 / 0.
    return ops.sqrt(ops.maximum(ops.sum(ops.square(u - v), axis=-1), _SMALL))


def cosine(u: Any, v: Any) -> Any:
    """Vectors […, d] → cosines […] within −1…1; 0, and without a gradient, where one is zero.

    Without the choice before the root, the gradient at a zero vector would be 1 / _SMALL.
    """
    # One root of the product, not two: fewer roundings, and the same bits for (u, v) and (v, u).
    norms = ops.sum(ops.square(u), axis=-1) * ops.sum(ops.square(v), axis=-1)
    long = norms > _SMALL**2
    cosines = ops.sum(u * v, axis=-1) / ops.sqrt(ops.where(long, norms, 1.0))
    return ops.where(long, ops.clip(cosines, -1, 1), 0.0)


def cosine_distance(u: Any, v: Any) -> Any:
    """Vectors […, d] → 1 − cosine […], 0…2."""
    return 1 - cosine(u, v)


def minus_manhattan(u: Any, v: Any) -> Any:
    """Vectors […, d] → −distances […], the logs of the similarities exp(−distance)."""
    return -manhattan(u, v)


def minus_euclidean(u: Any, v: Any) -> Any:
    """Vectors […, d] → −distances […], the logs of the similarities exp(−distance)."""
    return -euclidean(u, v)


def l1(u: Any, v: Any) -> Any:
    """1 − |u − v|: vectors [b, d] → features [b, d]."""
    return 1 - ops.abs(u - v)


def absdiff_product(u: Any, v: Any) -> Any:
    """[|u − v|, u · v]: vectors [b, d] → features [b, 2 d]."""
    return ops.concatenate([ops.abs(u - v), u * v], axis=-1)


def concat(u: Any, v: Any) -> Any:
    """[u, v]: vectors [b, d] → features [b, 2 d]."""
    return ops.concatenate([u, v], axis=-1)


def concat_absdiff(u: Any, v: Any) -> Any:
    """[u, v, |u − v|]: vectors [b, d] → features [b, 3 d]."""
    return ops.concatenate([u, v, ops.abs(u - v)], axis=-1)


def compare(kind: str, u: Any, v: Any) -> Any:
    """What a kind of comparison computes: vectors […, d] → outputs […], or a head's features."""
    return resolve(COMPARISONS[kind].compute)(u, v)


def distance(kind: str, u: Any, v: Any) -> Any:
    """The distance of a kind of comparison that has one: vectors […, d] → […]."""
    name = COMPARISONS[kind].distance
    assert name is not None, f"{kind} is not a distance"
    return resolve(name)(u, v)


@keras.saving.register_keras_serializable(package=PACKAGE)
class Compare(keras.layers.Layer):
    """What a kind of comparison computes, as a layer."""

    def __init__(self, kind: str, **kwargs: Any):
        """`kind` as in `kinds.COMPARISONS`."""
        super().__init__(**kwargs)
        self.kind = kind

    def call(self, u, v):
        """Vectors [b, d] of both sides → [b], or features [b, n]."""
        return compare(self.kind, u, v)

    def get_config(self):
        return {**super().get_config(), "kind": self.kind}


def build_comparison(recipe: Recipe, dimensions: int) -> keras.Model:
    """A model (u [b, d], v [b, d]) → output [b], or [b, classes] for several classes."""
    spec = recipe.comparison
    u, v = (keras.Input((dimensions,), name=side) for side in "uv")
    output = Compare(spec.kind, name=spec.kind)(u, v)
    if isinstance(spec, parts.Head):  # else the output is there: nothing is learned
        for number, units in enumerate(spec.hidden, start=1):
            output = keras.layers.Dense(units, "relu", name=f"hidden_{number}")(output)
            if spec.dropout:
                output = StepDropout(spec.dropout)(output)
        output = _logits(recipe, output)
    return keras.Model([u, v], output, name="comparison")


def _logits(recipe: Recipe, hidden: Any) -> Any:
    if recipe.task == "classes":
        return keras.layers.Dense(len(recipe.labels.classes or ()), name="logits")(hidden)
    return ops.squeeze(keras.layers.Dense(1, name="logit")(hidden), -1)
