"""Writes a bundle: the network, its recipe and its threshold, with the sha256 of every file."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.bundle.loading import (
    MANIFEST,
    METRICS,
    PACKAGES,
    PACKED,
    PARTS,
    RECIPE,
    SAVED_MODEL,
    WEIGHTS,
    fingerprint,
    sha256,
    write_json,
)
from model.bundle.model_card import model_card

if TYPE_CHECKING:
    from model.network.siamese import Siamese
    from model.recipe.recipe import Recipe
    from transforms.accounts.staging import Staging


def half_written(names: Sequence[str]) -> bool:
    """Whether these are files of a bundle in a bucket that a run was killed while it wrote."""
    parts = {name.partition("/")[0] for name in names}
    return bool(parts) and parts <= set(PARTS)


@dataclass(frozen=True)
class BundleFacts:
    """What a bundle says of its model.

    Attributes:
        recipe: what the model was made from.
        dimensions: length of a vector.
        threshold: similarity from which the label is 1.
        metrics: what was measured of it.
    """

    recipe: Recipe
    dimensions: int
    threshold: float
    metrics: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The manifest, but the sums of the files."""
        recipe = self.recipe
        return {
            "recipe": recipe.name,
            "task": recipe.task,
            "classes": list(recipe.labels.classes or ()) if recipe.task == "classes" else None,
            "symmetric": recipe.symmetric,
            "dimensions": self.dimensions,
            "vocabulary_size": self.metrics.get("vocabulary_size"),
            "threshold": self.threshold,
            **_shorter(recipe, self.metrics),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": {package: version(package) for package in PACKAGES},
        }


def export_bundle(
    staging: Staging,
    *,
    siamese: Siamese,
    recipe: Recipe,
    examples_dir: str,
    threshold: float,
    metrics: dict[str, Any],
) -> dict[str, Any]:
    """Writes the bundle of trained parts; it appears complete or not at all.

    Args:
        staging: the output folder, as the run claimed it before it began to train.
        siamese: the trained parts.
        recipe: what they were made from.
        examples_dir: the examples folder, local; its transform graph goes into the bundle.
        threshold: see `BundleFacts`.
        metrics: see `BundleFacts`.

    Returns:
        The manifest.

    Raises:
        RunError: another run has claimed the folder since.
    """
    import tensorflow as tf

    from model.bundle.packed_weights import write_packed_weights
    from model.bundle.signatures import ServingModule

    def write(local: Path) -> None:
        # Three forms of one network: the SavedModel, which scores from raw text; the weights, which
        # `--init_from` continues from; and the arrays from which the C++ encoder is opened.
        module = ServingModule(siamese, recipe, examples_dir, threshold)
        tf.saved_model.save(module, str(local / SAVED_MODEL), signatures=module.signatures())
        siamese.network.save_weights(local / WEIGHTS)
        write_packed_weights(local / PACKED, siamese, recipe)
        _draw(siamese, local / "model.png")

    facts = BundleFacts(recipe, siamese.dimensions, threshold, metrics)
    return publish_model(staging, write, facts)


def publish_model(
    staging: Staging, write: Callable[[Path], None], facts: BundleFacts
) -> dict[str, Any]:
    """Adds recipe, measures, card and manifest to a model; the folder appears complete, or not.

    Args:
        staging: see `export_bundle`.
        write: writes the model into a local folder.
        facts: what the bundle says of its model.

    Returns:
        The manifest.

    Raises:
        RunError: another run has claimed the folder since.
    """
    with tempfile.TemporaryDirectory(prefix="twinbeam-bundle-") as temporary:
        local = Path(temporary) / "bundle"
        write(local)
        (local / RECIPE).write_text(facts.recipe.to_yaml(), encoding="utf-8")
        write_json(local / METRICS, facts.metrics | {"threshold": facts.threshold})
        about = facts.to_json()
        card = model_card(facts.recipe, about, facts.metrics)
        (local / "README.md").write_text(card, encoding="utf-8")
        return publish_bundle(local, staging, about)


def _shorter(recipe: Recipe, metrics: dict[str, Any]) -> dict[str, Any]:
    """Numbers of floats that the vectors can be cut to, each with its threshold, if measured."""
    if not recipe.shorter:
        return {}
    measured = metrics.get("shorter", {})
    return {
        "shorter": {
            str(size): measured.get(str(size), {}).get("threshold") for size in recipe.shorter
        }
    }


def publish_bundle(local: Path, staging: Staging, about: dict[str, Any]) -> dict[str, Any]:
    """Adds the manifest with the sums of all files, and makes the folder appear.

    Raises:
        RunError: another run has claimed the folder since.
    """
    sums = {
        str(path.relative_to(local)): sha256(path)
        for path in sorted(local.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    # The fingerprint covers the sums and all that is said of the model, so a pinned bundle is
    # pinned to the last byte. The manifest is published last: without it a folder is not a bundle.
    content = {**about, "files": sums}
    manifest = {"fingerprint": fingerprint(content), **content}
    write_json(local / MANIFEST, manifest)
    staging.publish_copy(str(local), last=[MANIFEST])
    return manifest


def _draw(siamese: Siamese, path: Path) -> None:
    """Draws the network, where Graphviz is installed."""
    import keras

    if shutil.which("dot") is None or find_spec("pydot") is None:
        print("model.png is left out of the bundle: it needs Graphviz and pydot", flush=True)
        return
    keras.utils.plot_model(siamese.network, str(path), show_shapes=True, expand_nested=True)
