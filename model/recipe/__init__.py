"""Recipes: what a model is made of, as plain data. No TensorFlow."""

from model.recipe.reading import load_recipe, read_recipe
from model.recipe.recipe import Recipe

__all__ = ["Recipe", "load_recipe", "read_recipe"]
