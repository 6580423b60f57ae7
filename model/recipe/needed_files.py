"""The files that a recipe names: looked for before there is any work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from model.recipe import parts
from model.recipe.paths import resolve_path
from model.recipe.recipe import Recipe
from transforms.errors import UserError

CORPUS = "corpus"  # word vectors that are trained on the training part, not read


def missing_files(recipe: Recipe, *, start_vectors: bool = True) -> list[str]:
    """What a recipe names and is not here, a line each; a package that is not installed is none.

    Args:
        recipe: the recipe.
        start_vectors: whether the word vectors of the embedding count, which only a training that
            begins reads.
    """
    lines = []
    for key, path, expected in _named(recipe, start_vectors):
        try:
            place = Path(resolve_path(path))
        except UserError as error:
            lines.append(f"{key}: {error}")
            continue
        if not (place / expected).exists():
            lines.append(f"{key}: {place / expected} does not exist")
    return lines


def check_files(recipe: Recipe, *, start_vectors: bool = True) -> None:
    """Refuses a recipe whose files are not here.

    Raises:
        UserError: names all of them.
    """
    missing = missing_files(recipe, start_vectors=start_vectors)
    if missing:
        raise UserError(
            f"recipe {recipe.name} needs files that are missing: {'; '.join(missing)}. Get them "
            "(docs/recipes.md says where), or give their paths in your own recipe"
        )


def _named(recipe: Recipe, start_vectors: bool) -> Iterator[tuple[str, str, str]]:
    """Key of the recipe, its path, and the file below it without which it is of no use."""
    encoder, embedding = recipe.encoder, recipe.embedding
    if start_vectors and embedding is not None and embedding.vectors not in (None, CORPUS):
        assert embedding.vectors is not None
        yield "embedding.vectors", embedding.vectors, ""
    if isinstance(encoder, parts.Bert):
        yield "encoder.preset", encoder.preset, "config.json"
    if isinstance(encoder, parts.Universal):
        yield "encoder.preset", encoder.preset, "weights.npz"
    if isinstance(encoder, parts.SavedModel):
        yield "encoder.path", encoder.path, "saved_model.pb"
    if recipe.text.vocabulary is not None:
        yield "text.vocabulary", recipe.text.vocabulary, ""
