"""The plain Keras network of a bundle, for the ways of scoring that use Keras off the shelf."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np

from model.network.siamese import build_siamese
from model.recipe.reading import load_recipe


def plain_network(bundle: str) -> keras.Model:
    """The two-sided Keras model with the bundle's weights: (ids1, ids2) → output."""
    recipe = load_recipe(str(Path(bundle) / "recipe.yaml"))
    size = json.loads((Path(bundle) / "manifest.json").read_text())["vocabulary_size"]
    vectors = None
    if recipe.embedding is not None and recipe.embedding.vectors is not None:
        vectors = np.zeros((size, recipe.embedding.dimensions), np.float32)
    network = build_siamese(recipe, vocabulary_size=size, vectors=vectors).network
    network.load_weights(Path(bundle) / "network.weights.h5")
    return network
