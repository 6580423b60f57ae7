"""Recipes: YAML files that say which encoder, comparison and loss make a model. No TensorFlow here.

A recipe is checked whole when it is read: every key and value, and that its parts fit together.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, ValidationError, model_validator
from pydantic_core import ErrorDetails

from model import recipe_parts as parts
from model.recipe_checks import misfits
from transforms.errors import UserError
from transforms.labels import LabelRule

RECIPES = Path(__file__).resolve().parent.parent / "recipes"
PACKAGE = "package:"


class Recipe(parts.Part):
    """Everything that decides a model but its data."""

    name: str
    description: str
    source: str
    task: Literal["binary", "regression", "classes"]
    labels: parts.Labels
    text: parts.Text
    embedding: parts.Embedding | None = None
    encoder: parts.Encoder
    comparison: parts.Comparison
    loss: parts.Loss
    training: parts.Training = parts.Training()

    @model_validator(mode="after")
    def _parts_fit(self) -> Recipe:
        for problem in misfits(self):
            raise ValueError(problem)
        return self

    @property
    def label_rule(self) -> LabelRule:
        """How labels of the data are read."""
        return LabelRule(self.labels.classes, self.labels.minimum, self.labels.maximum)

    @property
    def label_range(self) -> tuple[float, float]:
        """Least and greatest label: 0 and 1 for two classes, else the range of the numbers."""
        if self.task == "regression":
            return float(self.labels.minimum or 0.0), float(self.labels.maximum or 0.0)
        return 0.0, float(len(self.labels.classes or ()) - 1)

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
    def symmetric(self) -> bool:
        """Whether the similarity of (a, b) is that of (b, a)."""
        return self.comparison.kind in parts.SYMMETRIC

    @property
    def padding_shows(self) -> bool:
        """Whether the last bits of a vector depend on how far its sentence is padded.

        A state and a maximum pass over padding, and a recurrent encoder's mean is added up in
        order; the sums of attention round another way when there are more zeros in them.
        """
        pooling = {"bilstm": ("last", "max", "mean", "mean_max"), "cnn": ("max",)}
        return getattr(self.encoder, "pooling", None) not in pooling.get(self.encoder.kind, ())

    @property
    def vocabulary_path(self) -> str | None:
        """The vocab.txt of a WordPiece tokeniser; nothing where the vocabulary is learned."""
        if self.text.tokenizer != "wordpiece":
            return None
        if self.text.vocabulary:
            return resolve_path(self.text.vocabulary)
        assert isinstance(self.encoder, parts.Bert)
        return str(Path(resolve_path(self.encoder.preset)) / "vocab.txt")

    def to_yaml(self) -> str:
        """The recipe as YAML, with its defaults written out."""
        return yaml.safe_dump(
            self.model_dump(mode="json", exclude_none=True), sort_keys=False, allow_unicode=True
        )

    def with_training(self, **overrides: Any) -> Recipe:
        """The same recipe with other training values; those that are None are left as they are.

        Raises:
            UserError: a value is not allowed.
        """
        values = self.model_dump()
        values["training"] |= {key: value for key, value in overrides.items() if value is not None}
        return parse_recipe(values, where=f"{self.name} (with changed training values)")


def resolve_path(path: str) -> str:
    """The path, with `package:NAME/FOLDER` as the folder in an installed Python package.

    Raises:
        UserError: the package is not installed.
    """
    if not path.startswith(PACKAGE):
        return path
    package, _, inside = path.removeprefix(PACKAGE).partition("/")
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise UserError(
            f"{path}: the Python package {package!r} is not installed; install it with "
            f"'pip install {package.replace('_', '-')}', or give the path of a folder"
        )
    return str(Path(spec.origin).parent / inside)


def recipe_names() -> list[str]:
    """Names of the recipes that come with the project."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def describe_recipes() -> list[tuple[str, str]]:
    """Name and a line about each recipe that comes with the project."""
    recipes = [load_recipe(name) for name in recipe_names()]
    return [(recipe.name, f"{recipe.description} ({recipe.source})") for recipe in recipes]


def load_recipe(name_or_path: str) -> Recipe:
    """Reads a recipe by its name in `recipes/` or from a file.

    Raises:
        UserError: there is none, it is no YAML, or it says something that is not allowed.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = RECIPES / f"{name_or_path}.yaml"
    if not path.is_file():
        raise UserError(
            f"recipe {name_or_path!r} not found; expected a .yaml file or one of: "
            + ", ".join(recipe_names())
        )
    return read_recipe(path.read_bytes(), where=str(path))


def read_recipe(text: str | bytes, *, where: str) -> Recipe:
    """The recipe in a YAML text; `where` is what errors call it.

    Raises:
        UserError: it is no YAML, or it says something that is not allowed.
    """
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"recipe {where} is not valid YAML: {reason}") from None
    return parse_recipe(values, where=where)


def parse_recipe(values: Any, *, where: str) -> Recipe:
    """The recipe that plain values (as YAML gives them) say.

    Raises:
        UserError: with the path of the first wrong key, what is allowed and what was received.
    """
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise UserError(f"recipe {where}: {_explain(error.errors()[0])}") from None


def _explain(error: ErrorDetails) -> str:
    location, received = error["loc"], error["input"]
    key = ".".join(str(step) for step in _without_kinds(location))
    match error["type"]:
        case "extra_forbidden":
            allowed = ", ".join(_part_at(location[:-1]).model_fields)
            return f"{key}: unknown key; allowed here: {allowed}; received {received!r}"
        case "missing":
            return f"{key}: missing; received keys: {', '.join(map(str, received))}"
        case "union_tag_invalid":
            allowed = error["ctx"]["expected_tags"]
            return f"{key}.kind: allowed are {allowed}; received {error['ctx']['tag']!r}"
        case "union_tag_not_found":
            return f"{key}.kind: missing; received {received!r}"
        case "model_type":
            return f"{key or 'the file'}: expected keys and values; received {received!r}"
        case "value_error" if not location:
            return str(error["ctx"]["error"])
        case _:
            return f"{key or 'the file'}: {error['msg']}; received {received!r}"


_KINDED = ("encoder", "comparison", "loss")
_KINDS: dict[str, type[BaseModel]] = {
    kind: part
    for union in (parts.Encoder, parts.Comparison, parts.Loss)
    for part in get_args(get_args(union)[0])
    for kind in get_args(part.model_fields["kind"].annotation)
}
_PLAIN: dict[str, type[BaseModel]] = {
    "labels": parts.Labels,
    "text": parts.Text,
    "embedding": parts.Embedding,
    "training": parts.Training,
}


def _without_kinds(location: tuple[int | str, ...]) -> list[int | str]:
    """A location without the kind that pydantic puts behind the name of a kinded part."""
    return [s for i, s in enumerate(location) if not (i == 1 and location[0] in _KINDED)]


def _part_at(location: tuple[int | str, ...]) -> type[BaseModel]:
    """The part whose keys a location lies among."""
    if not location:
        return Recipe
    return _KINDS[str(location[1])] if location[0] in _KINDED else _PLAIN[str(location[0])]
