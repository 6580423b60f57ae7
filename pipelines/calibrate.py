"""Makes a new version of a bundle whose similarities are probabilities, from labelled scores.

twinbeam calibrate --model bundle --input scores --output bundle-calibrated
The scores must come from that bundle, over pairs it was not trained on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from pipelines.bundles.calibrated import (
    CalibrateOptions,
    calibrate_claimed,
    check_calibration,
    check_no_bundle,
    plan_labelled,
)
from pipelines.options import command_line, shared_flags
from pipelines.options.parser import CommandParser
from pipelines.options.scored_inputs import bundle_recipe
from pipelines.running import same_run
from transforms.accounts.staging import claim_folder
from transforms.errors import UserError
from transforms.evaluation.scored_rows import ScoredColumns
from transforms.pairs import PairColumns
from transforms.storage import files

MANIFEST = "manifest.json"
EXAMPLE = "twinbeam calibrate --model bundle --input scores --output bundle-calibrated"


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
    check_calibration(options, manifest)
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
    check_no_bundle(options)
    with claim_folder(options.output, overwrite=options.overwrite) as staging:
        about = manifest | {same_run.MADE_FROM: made_from}
        return calibrate_claimed(options, staging, about, planned.shards)


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
        raise UserError(f"--model {model} is not a bundle: it has no recipe.yaml")
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
        "--input",
        nargs="+",
        required=True,
        metavar="DIR",
        help="labelled pairs that it scored",
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="the new bundle")
    parser.add_argument(
        "--method", choices=("platt", "isotonic"), default="platt", help="calibration method"
    )
    for side in PairColumns().sides:
        parser.add_argument(f"--{side}_column", default=side, help="column of a sentence")
    parser.add_argument("--label_column", default="label", help="the true label")
    parser.add_argument("--similarity_column", default="similarity", help="similarity")
    parser.add_argument("--overwrite", action="store_true", help="replace a bundle in --output")


def main() -> int:
    """The command line."""
    return command_line.run_main(run)


if __name__ == "__main__":
    raise SystemExit(main())
