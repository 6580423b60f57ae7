"""The bundle: a self-contained folder, with the model, its preprocessing and its documents.

`verify` reads sums and needs no TensorFlow; `load` opens the model once they agree.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from model.kernels.encoders import FLOAT32, PackedEncoder, about, open_encoder
from transforms.errors import UserError
from transforms.quiet_tensorflow import import_tensorflow, register_text_operations
from transforms.storage import files

if TYPE_CHECKING:
    from model.recipe.recipe import Recipe

MANIFEST = "manifest.json"
SAVED_MODEL = "saved_model"
RECIPE = "recipe.yaml"
METRICS = "metrics.json"
WEIGHTS = "network.weights.h5"
PACKED = "encoder.npz"
# The manifest comes last.
PARTS = (SAVED_MODEL, RECIPE, METRICS, WEIGHTS, PACKED, "README.md", "model.png")
PACKAGES = ("tensorflow", "keras", "tensorflow-transform", "tensorflow-text")


def verify(folder: str, *, name: str | None = None) -> dict[str, Any]:
    """Checks that every file of a bundle is what its manifest says, and that there is no other.

    Only files that are in the folder are opened, whatever paths the manifest may hold.

    Args:
        folder: the bundle's.
        name: what errors call it, where that is not the folder.

    Returns:
        The manifest.

    Raises:
        UserError: no bundle, or one that was changed; names the file.
    """
    name = name or folder
    path = files.join(folder, MANIFEST)
    if not files.exists(path):
        raise UserError(
            f"--model {name} is not a bundle: it has no {MANIFEST}; "
            "expected the --output of twinbeam train"
        )
    manifest = files.read_json(path)
    sums = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(sums, dict) or not isinstance(manifest.get("fingerprint"), str):
        raise UserError(f"bundle {name}: {MANIFEST} is not the manifest of a bundle")
    present = set(files.list_folder(folder)) - {MANIFEST}
    for file in sorted(set(sums) | present):
        if file not in present:
            raise UserError(f"bundle {name}: {file} is missing; take a complete copy")
        if file not in sums:
            raise UserError(f"bundle {name}: {file} does not belong to it; take a fresh copy")
        if files.sha256_of(files.join(folder, *file.split("/"))) != sums[file]:
            raise UserError(f"bundle {name}: {file} was changed; take a fresh copy")
    content = {key: value for key, value in manifest.items() if key != "fingerprint"}
    if (
        fingerprint(content) != manifest["fingerprint"]
        or files.read_bytes(path) != _as_json(manifest).encode()
    ):
        raise UserError(f"bundle {name}: {MANIFEST} was changed; take a fresh copy")
    return manifest


class LoadedBundle:
    """An opened bundle: its functions on NumPy arrays (see `model.bundle.signatures`)."""

    def __init__(
        self,
        manifest: dict[str, Any],
        recipe: Recipe,
        functions: Any,
        keep: Any,
        packed: PackedEncoder | None = None,
    ):
        self.manifest = manifest
        self.recipe = recipe
        self.dimensions: int = manifest["dimensions"]
        self.reads_text = recipe.reads_text
        self.padding_changes_bits = recipe.padding_changes_bits
        self.packed = packed
        self._functions: dict[str, Callable] = functions
        self._keep = keep

    def tokenize(self, sentences: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sentences [n] → ids of all of them in a row [m], and how many each has [n]."""
        found = self._call("tokenize", sentences=sentences)
        return found["values"], found["row_lengths"]

    def encode_ids(self, ids: np.ndarray) -> np.ndarray:
        """Ids, int32 [b, t] with 0 as padding on the right → vectors [b, d]."""
        return self._call("encode_ids", ids=ids)["vectors"]

    def encode(self, sentences: np.ndarray) -> np.ndarray:
        """Sentences [n] → vectors [n, d]."""
        return self._call("encode", sentences=sentences)["vectors"]

    def compare(self, u: np.ndarray, v: np.ndarray) -> dict[str, np.ndarray]:
        """Vectors [n, d] of both sides → similarity [n], label [n], maybe probabilities."""
        return self._call("compare", u=u, v=v)

    def score(self, sentence1: np.ndarray, sentence2: np.ndarray) -> dict[str, np.ndarray]:
        """Sentences [n] of both sides → similarity [n], label [n], maybe probabilities."""
        return self._call("score", sentence1=sentence1, sentence2=sentence2)

    def _call(self, name: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        import tensorflow as tf

        tensors = {key: tf.constant(value) for key, value in inputs.items()}
        return {key: value.numpy() for key, value in self._functions[name](**tensors).items()}


def load(folder: str) -> LoadedBundle:
    """Verifies a bundle and opens it.

    Raises:
        UserError: the bundle is not complete; names the file.
    """
    with files.local_copy(folder) as local:
        manifest = verify(local, name=folder)  # the copy that is opened, not what it came from
        import_tensorflow()
        register_text_operations()  # of the transform graph, where other code had imported it
        import tensorflow as tf

        from model.recipe.reading import read_recipe

        recipe = read_recipe((Path(local) / RECIPE).read_bytes(), source=f"{folder}/{RECIPE}")
        model = tf.saved_model.load(str(Path(local) / SAVED_MODEL))
        packed = _packed(Path(local) / PACKED, folder)
    return LoadedBundle(manifest, recipe, model.signatures, model, packed)


def _packed(path: Path, folder: str) -> PackedEncoder | None:
    """The encoder in C++, where the bundle has the arrays and this machine can run it.

    Raises:
        UserError: the bundle computes in a precision that TensorFlow's graph has not.
    """
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as arrays:
        encoder, precision = open_encoder(arrays), about(arrays)["precision"]
    if encoder is None and precision != FLOAT32:
        raise UserError(
            f"bundle {folder} computes in {precision}, which needs the C++ library and a CPU "
            "with AVX2; build it (make setup, with g++), or score with the bundle it was made from"
        )
    return encoder


def fingerprint(content: dict[str, Any]) -> str:
    """The sha256 of a manifest's content, which names the bundle."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def sha256(path: Path) -> str:
    """The sha256 of a local file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file as bundles have them."""
    path.write_text(_as_json(content), encoding="utf-8")


def _as_json(content: Any) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
