"""A bundle whose C++ encoder computes in another precision, made from an existing one."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from model.bundle.export import publish_bundle
from model.bundle.loading import MANIFEST, METRICS, PACKED, SAVED_MODEL, write_json
from model.kernels.encoders import EXACT_ONLY, INT16, about, open_encoder, with_precision
from transforms.accounts.staging import Staging
from transforms.errors import UserError
from transforms.storage import files


def in_precision(
    folder: str, precision: str, sentences: tuple[np.ndarray, np.ndarray]
) -> dict[str, np.ndarray]:
    """The arrays of a bundle's encoder for a precision.

    Args:
        folder: the bundle, local or `gs://`.
        precision: `float32` or `int16`.
        sentences: ids in a row [m] and their lengths [n], by which the steps of fixed
            point are chosen once: steps of each batch's own would make vectors depend on it.

    Raises:
        UserError: the bundle has this precision already.
    """
    with files.local_copy(folder) as local, np.load(Path(local) / PACKED) as kept:
        arrays = dict(kept)
    description = about(arrays)
    if description["precision"] == precision:
        raise UserError(f"--model {folder} computes in {precision} already")
    if description["kind"] in EXACT_ONLY:
        raise UserError(
            f"--model {folder}: its encoder looks up what others multiply, so {precision} would "
            "save nothing"
        )
    if precision != INT16 or description["kind"] == "lstm":
        return with_precision(arrays, precision)
    exact = open_encoder(arrays)
    assert exact is not None  # or the bundle's own would not have been opened
    values, lengths = sentences
    exact.check(values, lengths)
    return with_precision(
        arrays, precision, exact.seen(values, np.cumsum(lengths) - lengths, lengths)
    )


def write_in_precision(
    folder: str,
    staging: Staging,
    arrays: dict[str, Any],
    threshold: float,
    found: dict[str, Any],
) -> dict[str, Any]:
    """Copies a bundle with other arrays, threshold, metrics and card; returns its manifest.

    The SavedModel stays in float32, except for the threshold.
    """
    with tempfile.TemporaryDirectory(prefix="twinbeam-bundle-") as temporary:
        old, new = Path(temporary) / "old", Path(temporary) / "new"
        files.copy_tree(folder, str(old))
        manifest = files.read_json(str(old / MANIFEST))
        moved = manifest["task"] == "binary" and threshold != manifest["threshold"]
        left = {MANIFEST, PACKED, *({SAVED_MODEL} if moved else ())}
        shutil.copytree(old, new, ignore=lambda _, names: left & {*names})
        if moved:
            _save_with_threshold(old / SAVED_MODEL, new / SAVED_MODEL, threshold)
        np.savez(new / PACKED, **arrays)
        metrics = files.read_json(str(old / METRICS)) | {"threshold": threshold, "precision": found}
        write_json(new / METRICS, metrics | found["after"])
        with (new / "README.md").open("a", encoding="utf-8") as card:
            card.write(
                f"\nThe encoder computes in {found['precision']}: {found['flipped']:.4%} of "
                f"{found['pairs']} labels differ; the label threshold is {threshold:.4f} now.\n"
            )
        about_it = {k: v for k, v in manifest.items() if k not in ("files", "fingerprint")}
        about_it |= {"threshold": threshold, "precision": found["precision"]}
        about_it["exported_from"] = manifest["fingerprint"]
        return publish_bundle(new, staging, about_it)


def _save_with_threshold(old: Path, new: Path, threshold: float) -> None:
    import tensorflow as tf

    from model.bundle.calibrated_signatures import CalibratedModule

    module = CalibratedModule(str(old), None, threshold)
    tf.saved_model.save(module, str(new), signatures=module.signatures())
