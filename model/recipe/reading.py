"""Reads a recipe from a name, a file or a text, and explains what is wrong with it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from model.recipe import parts
from model.recipe.checks import misfits, preset_of
from model.recipe.installed_kinds import add_installed
from model.recipe.kinds import KINDS
from model.recipe.recipe import Recipe
from transforms.errors import UserError, one_line

RECIPES = Path(__file__).resolve().parent / "builtin"


def recipe_names() -> list[str]:
    """Names of the recipes that come with the project."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def describe_recipes() -> list[tuple[str, str]]:
    """Name and a line about each recipe that comes with the project."""
    recipes = [load_recipe(name) for name in recipe_names()]
    return [(recipe.name, f"{recipe.description} ({recipe.source})") for recipe in recipes]


def load_recipe(name_or_path: str) -> Recipe:
    """Reads a recipe by the name of one that comes with the project, or from a file.

    Raises:
        UserError: it does not exist, is not YAML, or contains something that is not allowed.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = RECIPES / f"{name_or_path}.yaml"
    if not path.is_file():
        raise UserError(
            f"recipe {name_or_path!r} not found; expected a .yaml file or one of: "
            + ", ".join(recipe_names())
        )
    return read_recipe(path.read_bytes(), source=str(path))


def read_recipe(text: str | bytes, *, source: str) -> Recipe:
    """The recipe in a YAML text; `source` is its name in errors.

    Raises:
        UserError: it is not YAML, or contains something that is not allowed.
    """
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"recipe {source} is not valid YAML: {one_line(error)}") from None
    return parse_recipe(values, source=source)


def parse_recipe(values: Any, *, source: str) -> Recipe:
    """The recipe that plain values (as YAML gives them) say.

    Raises:
        UserError: with the path of the first wrong key, what is allowed and what was received.
    """
    _with_installed()
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        raise UserError(f"recipe {source}: {_explain(error.errors()[0], values)}") from None
    for problem in misfits(recipe):
        raise UserError(f"recipe {source}: {problem}")
    return as_preset_says(recipe)


def as_preset_says(recipe: Recipe) -> Recipe:
    """The recipe with what its pre-trained model's own files say, where it says nothing itself.

    So examples and bundles keep the answer, and are read where those files need not be.
    """
    encoder = recipe.encoder
    if not isinstance(encoder, parts.Bert) or None not in (encoder.pooling, encoder.normalize):
        return recipe
    preset = preset_of(recipe)
    found = {
        "pooling": encoder.pooling or (preset and preset.pooling) or "mean",
        "normalize": preset.normalize
        if preset and encoder.normalize is None
        else encoder.normalize,
    }
    found["normalize"] = bool(found["normalize"])
    return recipe.model_copy(update={"encoder": encoder.model_copy(update=found)})


@cache
def _with_installed() -> None:
    """Once a process, and not where a recipe is only named: packages are looked up on the disk."""
    add_installed()


def with_training(recipe: Recipe, **overrides: Any) -> Recipe:
    """The same recipe with other training values; those that are None are left as they are.

    Raises:
        UserError: a value is not allowed.
    """
    # Parsed again rather than copied: a copy would skip the checks that its new values may fail.
    values = recipe.model_dump()
    values["training"] |= {key: value for key, value in overrides.items() if value is not None}
    return parse_recipe(values, source=f"{recipe.name} (with changed training values)")


def _explain(error: ErrorDetails, values: Any) -> str:
    location, received = error["loc"], error["input"]
    key = ".".join(map(str, location))
    match error["type"]:
        case "extra_forbidden":
            allowed = ", ".join(_part_at(location[:-1], values).model_fields)
            return f"{key}: unknown key; allowed here: {allowed}; received {received!r}"
        case "missing":
            return f"{key}: missing; received keys: {', '.join(map(str, received))}"
        case "unknown_kind":
            allowed = error["ctx"]["allowed"]
            return f"{key}.kind: allowed are {allowed}; received {received['kind']!r}"
        case "no_kind":
            return f"{key}.kind: missing; received {received!r}"
        case "model_type":
            return f"{key or 'the file'}: expected keys and values; received {received!r}"
        case "value_error" if not location:
            return str(error["ctx"]["error"])
        case _:
            return f"{key or 'the file'}: {error['msg']}; received {received!r}"


_PLAIN: dict[str, type[BaseModel]] = {
    "labels": parts.Labels,
    "text": parts.Text,
    "embedding": parts.Embedding,
    "distill": parts.Distill,
    "training": parts.Training,
    "untrained": parts.Untrained,
}


def _part_at(location: tuple[int | str, ...], values: Any) -> type[BaseModel]:
    """The part whose keys a location is among."""
    if not location:
        return Recipe
    name = str(location[0])
    return KINDS[name][values[name]["kind"]].part if name in KINDS else _PLAIN[name]
