"""The examples folder that preprocessing leaves behind, as training sees it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from model.dataset.batch_plan import Records
from transforms.errors import UserError
from transforms.storage import files

if TYPE_CHECKING:
    from model.recipe.recipe import Recipe

SUCCESS = "_SUCCESS"
MANIFEST = "manifest.json"
RECIPE = "recipe.yaml"


@dataclass(frozen=True)
class ExampleSet:
    """The shards of the training or of the eval part: paths, and the examples in each."""

    files: tuple[str, ...]
    rows: tuple[int, ...]
    numbers: tuple[str, ...] = ()
    keyed: bool = False

    @property
    def total(self) -> int:
        """Examples in all shards."""
        return sum(self.rows)

    def records(self, recipe: Recipe) -> Records:
        """The shards, as a recipe's examples are to be read."""
        return Records(
            self.files,
            self.rows,
            recipe.reads_text,
            recipe.reads_triplets,
            self.numbers,
            self.keyed,
        )


@dataclass(frozen=True)
class Examples:
    """Both parts, and what the manifest says of them."""

    folder: str
    train: ExampleSet
    eval: ExampleSet
    manifest: dict[str, Any]
    begun_from: str = ""  # the fingerprint of the bundle whose weights training begins with
    more: tuple[tuple[Recipe, Examples], ...] = ()  # data sets that are trained on as well

    @property
    def vocabulary_size(self) -> int:
        """Ids in use, padding and out-of-vocabulary included; 0 where text goes in raw."""
        return int(self.manifest.get("vocabulary_size") or 0)

    @property
    def recipe_path(self) -> str:
        """The recipe that the examples were made for."""
        return files.join(self.folder, RECIPE)

    @property
    def fingerprint(self) -> str:
        """Names the training examples by their content."""
        identity = json.dumps([self.manifest["train_files"], self.vocabulary_size], sort_keys=True)
        return hashlib.sha256(identity.encode()).hexdigest()


def run_fingerprint(recipe: Recipe, examples: Examples) -> str:
    """Names a training run by its recipe, seed and batch size included, and its examples."""
    identity = recipe.to_yaml() + examples.fingerprint + examples.begun_from
    identity += "".join(other.to_yaml() + each.fingerprint for other, each in examples.more)
    return hashlib.sha256(identity.encode()).hexdigest()


def open_examples(folder: str) -> Examples:
    """The shards of a finished examples folder.

    Raises:
        UserError: it is not there, was not finished, or a shard is missing.
    """
    if not files.exists(files.join(folder, SUCCESS)):
        raise UserError(
            f"--examples {folder} is not a finished examples folder (it has no {SUCCESS}); "
            "expected the --output of twinbeam preprocess"
        )
    manifest = files.read_json(files.join(folder, MANIFEST))
    present = set(files.list_folder(folder))
    train, held_out = (_example_set(folder, manifest, name, present) for name in ("train", "eval"))
    return Examples(folder, train, held_out, manifest)


def _example_set(folder: str, manifest: dict[str, Any], name: str, present: set[str]) -> ExampleSet:
    shards = manifest.get(f"{name}_files") or []
    for shard in shards:
        if shard["name"] not in present:
            raise UserError(f"--examples {folder}: {shard['name']} is missing; preprocess again")
    if not sum(shard["rows"] for shard in shards):
        raise UserError(
            f"--examples {folder} has no {name} examples; preprocess more pairs, or change "
            "text.eval_fraction in the recipe"
        )
    paths = tuple(files.join(folder, shard["name"]) for shard in shards)
    options = manifest.get("options", {})
    return ExampleSet(
        paths,
        tuple(shard["rows"] for shard in shards),
        tuple(options.get("numbers", ())),
        bool(options.get("keyed")),
    )


def read_vocabulary(folder: str) -> list[str]:
    """The words that an examples folder learned, in the order of their ids from 2 on."""
    content = files.read_bytes(files.join(folder, "transform_fn", "assets", "vocabulary"))
    return content.decode().removesuffix("\n").split("\n")
