"""Makes a new version of a bundle whose encoder computes in another precision, and measures it.

twinbeam export --model bundle --examples examples --output new --precision int16
The threshold and the measures are taken again on the eval part, and shown beside those before.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipelines.bundles.other_precision import ExportOptions, export_claimed
from pipelines.options import command_line, shared_flags
from pipelines.options.parser import CommandParser
from transforms.accounts.staging import claim_folder
from transforms.errors import UserError
from transforms.storage import files

if TYPE_CHECKING:
    pass

EXAMPLE = (
    "twinbeam export --model bundle --examples examples --output bundle-int16 --precision int16"
)


def run(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Exports, and returns the new bundle's manifest."""
    return export(parse(sys.argv[1:] if argv is None else argv))


def export(options: ExportOptions) -> dict[str, Any]:
    """A bundle and the examples it was trained on → a new bundle; the old one is unchanged.

    Raises:
        UserError: the bundle, the examples or the output cannot be used.
        RunError: more labels would flip than `max_flipped` allows; nothing is written.
    """
    from transforms.quiet_tensorflow import import_tensorflow

    import_tensorflow()
    check_bundle_output(options)
    with claim_folder(options.output, overwrite=options.overwrite) as staging:
        new = export_claimed(options, staging)
    print(f"bundle: {options.output}")
    return new


def check_bundle_output(options: ExportOptions) -> None:
    """Makes sure that nothing but a bundle would be replaced.

    Raises:
        UserError: it would, or there is a bundle and no `overwrite`.
    """
    names = files.list_folder(options.output)
    if names and not options.overwrite:
        raise UserError(
            f"{options.output} is not empty; choose another folder, or give --overwrite"
        )
    if names and "saved_model/saved_model.pb" not in names:
        raise UserError(
            f"{options.output} holds {names[0]!r} and is not a bundle; choose another folder"
        )


def flags() -> argparse.ArgumentParser:
    """All flags of an export."""
    parser = CommandParser("export", (__doc__ or "").splitlines()[0], EXAMPLE)
    add_flags(parser)
    return parser


def parse(argv: Sequence[str]) -> ExportOptions:
    """Flags → options."""
    args = flags().parse_args(argv)
    if not 0 <= args.max_flipped <= 1:
        raise UserError(f"--max_flipped {args.max_flipped}: expected a share from 0 to 1")
    return ExportOptions(
        model=args.model.rstrip("/"),
        examples=args.examples.rstrip("/"),
        output=args.output.rstrip("/"),
        precision=args.precision,
        max_flipped=args.max_flipped,
        overwrite=args.overwrite,
    )


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of an export."""
    parser.add_argument("--model", required=True, metavar="BUNDLE", help="the bundle to start from")
    parser.add_argument(
        "--examples", required=True, metavar="DIR", help="the examples the bundle was trained on"
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="the new bundle")
    parser.add_argument(
        "--precision",
        choices=("float32", "int16"),
        required=True,
        help="int16: fixed point with 14 bits in the matrix products of the C++ encoder",
    )
    parser.add_argument(
        "--max_flipped",
        type=shared_flags.fraction,
        default=0.001,
        metavar="SHARE",
        help="refuse if more labels of the evaluation part change",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a bundle in --output")


def main() -> int:
    """The command line."""
    return command_line.run_main(run)


if __name__ == "__main__":
    raise SystemExit(main())
