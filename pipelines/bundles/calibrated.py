"""A calibrated version of a bundle: fitted to labelled scores, written, and measured."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipelines.options import shared_flags
from pipelines.options.scored_inputs import check_columns, is_folder, score_inputs
from transforms.accounts.output_folder import read_manifest
from transforms.accounts.staging import Staging
from transforms.drift import SIMILARITY, similarity_counts
from transforms.errors import UserError
from transforms.evaluation import binary_metrics
from transforms.evaluation.histograms import ScoreHistogram
from transforms.evaluation.scored_rows import ScoredColumns
from transforms.input.shards import Plan, Shard, plan
from transforms.storage import files
from transforms.threads import in_threads

SHOWN = ("log_loss", "brier", "calibration_error", "roc_auc")
READ_THREADS = 4


@dataclass(frozen=True)
class CalibrateOptions:
    """The options of a calibration."""

    model: str
    inputs: tuple[str, ...]
    output: str
    columns: ScoredColumns = field(default_factory=ScoredColumns)
    method: Literal["platt", "isotonic"] = "platt"
    overwrite: bool = False


def calibrate_claimed(
    options: CalibrateOptions, staging: Staging, manifest: dict[str, Any], shards: Sequence[Shard]
) -> dict[str, Any]:
    """Fits, writes the bundle and prints what changed; returns the new manifest.

    Raises:
        RunError: another run has claimed the folder since.
    """
    from model.calibration import calibrated, fit

    histogram = read_histogram(options, shards)
    calibration = fit(histogram, options.method)
    threshold = float(np.float32(calibration(np.array([manifest["threshold"]]))[0]))
    measured = {
        when: {name: binary_metrics.measures(counts)[name] for name in SHOWN}
        for when, counts in (
            ("before", histogram),
            ("after", calibrated(histogram, calibration)),
        )
    }
    fitted = calibration.to_json() | {"rows": histogram.rows, "metrics": measured}
    small = histogram.occupied()
    rows = small.counts.sum(axis=(0, 1))
    after = similarity_counts(calibration(small.similarity / rows), (0.0, 1.0), rows)
    new = write_calibrated(options, staging, manifest, calibration, threshold, fitted, after)
    for name in SHOWN:
        print(f"{name:20}{measured['before'][name]:8.4f} → {measured['after'][name]:.4f}")
    print(f"threshold {manifest['threshold']:.4f} → {threshold:.4f}; bundle: {options.output}")
    return new


def check_calibration(options: CalibrateOptions, manifest: dict[str, Any]) -> None:
    """Checks that the bundle, the scores and the output go together.

    Raises:
        UserError: says which do not.
    """
    if manifest["task"] != "binary":
        raise UserError(f"--model {options.model}: its task is {manifest['task']}, expected binary")
    if "calibration" in manifest:
        raise UserError(f"--model {options.model} is calibrated already; give the one it came from")
    names = files.list_folder(options.output)
    if names and "saved_model/saved_model.pb" not in names:
        raise UserError(
            f"{options.output} holds {names[0]!r} and is not a bundle; choose another folder"
        )
    for folder in filter(is_folder, options.inputs):
        made_by = read_manifest(folder.rstrip("/")).get("bundle", {})
        if made_by.get("fingerprint") not in (None, manifest["fingerprint"]):
            raise UserError(
                f"{folder} was scored by another bundle than {options.model}; score again"
            )


def check_no_bundle(options: CalibrateOptions) -> None:
    """Checks that nothing is replaced without --overwrite.

    Raises:
        UserError: there is a bundle already.
    """
    if files.list_folder(options.output) and not options.overwrite:
        raise UserError(
            f"{options.output} is not empty; choose another folder, or give --overwrite"
        )


def plan_labelled(options: CalibrateOptions) -> Plan:
    """The labelled scores in shards.

    Raises:
        UserError: a file lacks a column.
    """
    planned = plan(
        score_inputs(options.inputs),
        options.columns.pairs,
        shard_rows=shared_flags.DEFAULT_SHARD_ROWS,
        on_bad_file=None,
        named_after_input=False,
    )
    check_columns(planned.schemas, options.columns)
    return planned


def read_histogram(options: CalibrateOptions, shards: Sequence[Shard]) -> ScoreHistogram:
    """The labelled scores, counted."""
    from transforms.evaluation.evaluate_shards import ALL, EvaluationSettings, evaluate_shard

    settings = EvaluationSettings(options.columns, worst=0)
    total = ScoreHistogram.empty()
    for found in in_threads(lambda shard: evaluate_shard(shard, settings), shards, READ_THREADS):
        counted = found.tallies.get(ALL)
        total = total + counted if isinstance(counted, ScoreHistogram) else total
    return total


def write_calibrated(
    options: CalibrateOptions,
    staging: Staging,
    manifest: dict[str, Any],
    calibration: Any,
    threshold: float,
    fitted: dict[str, Any],
    after: list[int],
) -> dict[str, Any]:
    """A copy of a bundle with calibrated functions, threshold, metrics and card; its manifest."""
    import tensorflow as tf

    from model.bundle.calibrated_signatures import CalibratedModule
    from model.bundle.export import publish_bundle
    from model.bundle.loading import METRICS, SAVED_MODEL

    with tempfile.TemporaryDirectory(prefix="twinbeam-bundle-") as temporary:
        old, new = Path(temporary) / "old", Path(temporary) / "new"
        files.copy_tree(options.model, str(old))
        shutil.copytree(old, new, ignore=lambda _, names: {SAVED_MODEL, "manifest.json"} & {*names})
        module = CalibratedModule(str(old / SAVED_MODEL), calibration, threshold)
        tf.saved_model.save(module, str(new / SAVED_MODEL), signatures=module.signatures())
        metrics = files.read_json(str(old / METRICS)) | {"threshold": threshold}
        if "profile" in metrics:  # from now on drift is computed from calibrated similarities
            metrics["profile"] |= {SIMILARITY: after}
        files.write_json(str(new / METRICS), metrics | {"calibration": fitted})
        with (new / "README.md").open("a") as card:
            card.write(
                f"\nSimilarities are calibrated ({options.method}, {fitted['rows']} pairs); "
                f"the label threshold is {threshold:.4f} now.\n"
            )
        about = {k: v for k, v in manifest.items() if k not in ("files", "fingerprint")}
        about |= {"threshold": threshold, "calibration": fitted}
        about["calibrated_from"] = manifest["fingerprint"]
        return publish_bundle(new, staging, about)
