"""Makes a new version of a bundle whose similarities are probabilities, from labelled scores.

twinbeam calibrate --model bundle --input scores --output bundle-calibrated
The scores must come from that bundle, over pairs it was not trained on.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipelines.options import command_line, shared_flags
from pipelines.options.parser import CommandParser
from pipelines.options.scored_inputs import bundle_recipe, check_columns, is_folder, score_inputs
from pipelines.running import same_run
from transforms.accounts.output_folder import read_manifest
from transforms.accounts.staging import Staging, claim_folder
from transforms.drift import SIMILARITY, similarity_counts
from transforms.errors import UserError
from transforms.evaluation import binary_metrics
from transforms.evaluation.histograms import ScoreHistogram
from transforms.evaluation.scored_rows import ScoredColumns
from transforms.input.shards import Plan, Shard, plan
from transforms.pairs import PairColumns
from transforms.storage import files
from transforms.threads import in_threads

SHOWN = ("log_loss", "brier", "calibration_error", "roc_auc")
MANIFEST = "manifest.json"
READ_THREADS = 4
EXAMPLE = "twinbeam calibrate --model bundle --input scores --output bundle-calibrated"


@dataclass(frozen=True)
class CalibrateOptions:
    """The options of a calibration."""

    model: str
    inputs: tuple[str, ...]
    output: str
    columns: ScoredColumns = field(default_factory=ScoredColumns)
    method: Literal["platt", "isotonic"] = "platt"
    overwrite: bool = False


def run(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Calibrates, and returns the new bundle's manifest."""
    return calibrate(parse(sys.argv[1:] if argv is None else argv))


def calibrate(options: CalibrateOptions) -> dict[str, Any]:
    """Labelled scores → calibration → a new bundle beside the old one.

    The threshold moves with the similarities, so the labels stay what they were; but where
    isotonic steps are level, similarities around the threshold become one.

    Raises:
        UserError: the bundle, the scores or the output cannot be used.
    """
    from model.bundle.loading import verify

    manifest = verify(options.model)
    check(options, manifest)
    planned = plan_labelled(options)
    made_from = same_run.made_from(
        {
            "model": manifest["fingerprint"],
            "method": options.method,
            "label_column": options.columns.pairs.label,
            "similarity_column": options.columns.similarity,
        },
        {shard.source: shard.fingerprint for shard in planned.shards},
    )
    path = files.join(options.output, MANIFEST)
    before: dict[str, Any] = files.read_json(path) if files.exists(path) else {}
    done = before.get(same_run.MADE_FROM)
    if same_run.is_done(options.output, done, made_from, overwrite=options.overwrite):
        verify(options.output)
        return before
    check_free(options)
    with claim_folder(options.output, overwrite=options.overwrite) as staging:
        about = manifest | {same_run.MADE_FROM: made_from}
        return calibrate_claimed(options, staging, about, planned.shards)


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
    new = write_bundle(options, staging, manifest, calibration, threshold, fitted, after)
    for name in SHOWN:
        print(f"{name:20}{measured['before'][name]:8.4f} → {measured['after'][name]:.4f}")
    print(f"threshold {manifest['threshold']:.4f} → {threshold:.4f}; bundle: {options.output}")
    return new


def check(options: CalibrateOptions, manifest: dict[str, Any]) -> None:
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
            f"{options.output} holds {names[0]!r} and is no bundle; choose another folder"
        )
    for folder in filter(is_folder, options.inputs):
        made_by = read_manifest(folder.rstrip("/")).get("bundle", {})
        if made_by.get("fingerprint") not in (None, manifest["fingerprint"]):
            raise UserError(
                f"{folder} was scored by another bundle than {options.model}; score again"
            )


def check_free(options: CalibrateOptions) -> None:
    """Checks that nothing is replaced without permission.

    Raises:
        UserError: there is a bundle.
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


def write_bundle(
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


def flags() -> argparse.ArgumentParser:
    """All flags of calibration."""
    parser = CommandParser("calibrate", (__doc__ or "").splitlines()[0], EXAMPLE)
    add_flags(parser)
    return parser


def parse(argv: Sequence[str]) -> CalibrateOptions:
    """Flags → options."""
    args = flags().parse_args(argv)
    model = args.model.rstrip("/")
    if not files.exists(files.join(model, "recipe.yaml")):
        raise UserError(f"--model {model} is no bundle: it has no recipe.yaml")
    columns = ScoredColumns(
        pairs=shared_flags.columns(args),
        labels=bundle_recipe(model).label_rule,
        similarity=args.similarity_column,
        predicted=None,
        threshold=0.5,
    )
    return CalibrateOptions(
        model=model,
        inputs=tuple(args.input),
        output=args.output.rstrip("/"),
        columns=columns,
        method=args.method,
        overwrite=args.overwrite,
    )


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of calibration."""
    parser.add_argument("--model", required=True, metavar="BUNDLE", help="the bundle that scored")
    parser.add_argument(
        "--input", nargs="+", required=True, metavar="DIR", help="its labelled scores"
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="the new bundle")
    parser.add_argument(
        "--method", choices=("platt", "isotonic"), default="platt", help="of the calibration"
    )
    for side in PairColumns().sides:
        parser.add_argument(f"--{side}_column", default=side, help="a sentence")
    parser.add_argument("--label_column", default="label", help="the true label")
    parser.add_argument("--similarity_column", default="similarity", help="similarity")
    parser.add_argument("--overwrite", action="store_true", help="replace a bundle in --output")


def main() -> int:
    """The command line."""
    return command_line.run_main(run)


if __name__ == "__main__":
    raise SystemExit(main())
