"""Recipes small enough to train in a moment, as the plain values that YAML gives."""

from __future__ import annotations

from typing import Any

from model.recipe.reading import parse_recipe
from model.recipe.recipe import Recipe

BASE: dict[str, Any] = {
    "name": "tiny",
    "description": "for tests",
    "source": "made up",
    "task": "binary",
    "labels": {"classes": ["0", "1"]},
    "text": {"tokenizer": "char", "max_tokens": 16},
    "embedding": {"dimensions": 6},
    "encoder": {"kind": "bilstm", "units": [4, 3]},
    "comparison": {"kind": "manhattan"},
    "loss": {"kind": "binary_crossentropy"},
}


def values(**changes: Any) -> dict[str, Any]:
    """The base with other parts; a part that is None is left out."""
    return {key: part for key, part in (BASE | changes).items() if part is not None}


def recipe(**changes: Any) -> Recipe:
    """The recipe of `values(**changes)`."""
    return parse_recipe(values(**changes), source="here")
