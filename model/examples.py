"""The examples folder that preprocessing leaves behind, as training sees it."""

from __future__ import annotations

from dataclasses import dataclass, field

from transforms import files
from transforms.errors import UserError


@dataclass(frozen=True)
class Examples:
    """Paths of the training and eval shards, and what the manifest says of them."""

    folder: str
    train_files: tuple[str, ...]
    eval_files: tuple[str, ...]
    manifest: dict = field(default_factory=dict)

    @property
    def vocabulary_size(self) -> int:
        """Ids in use, padding and out-of-vocabulary included; 0 where text goes in raw."""
        return int(self.manifest.get("vocabulary_size") or 0)

    @property
    def recipe_path(self) -> str:
        return files.join(self.folder, "recipe.yaml")


def open_examples(folder: str) -> Examples:
    """Find the shards of a finished examples folder.

    Raises:
        UserError: it is not there, was not finished, or has no training or eval shard.
    """
    if not files.exists(files.join(folder, "_SUCCESS")):
        raise UserError(
            f"--examples {folder} is not a finished examples folder (no _SUCCESS in it); "
            "make one with python -m pipelines.preprocess --output"
        )
    names = [name for name in files.list_folder(folder) if name.endswith(".tfrecord.gz")]
    shards = {
        part: tuple(files.join(folder, name) for name in names if name.startswith(f"{part}-"))
        for part in ("train", "eval")
    }
    for part, found in shards.items():
        if not found:
            raise UserError(f"--examples {folder} has no {part}-*.tfrecord.gz; preprocess again")
    manifest = files.read_json(files.join(folder, "manifest.json"))
    return Examples(folder, shards["train"], shards["eval"], manifest)
