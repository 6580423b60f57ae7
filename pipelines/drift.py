"""Draws the drift of scoring runs, night after night, and says what changed in the last one.

twinbeam drift --input 'out/scores-*' --output out/drift.html
"""

from __future__ import annotations

import argparse
import glob
import math
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pipelines.options import command_line
from pipelines.options.parser import CommandParser
from pipelines.report.trend_page import Night, changes, headline, trend_page
from transforms.accounts.output_folder import find_manifest, read_manifest
from transforms.errors import UserError
from transforms.storage import files

_LAST_START = 1e11  # seconds: the year 5138
EXAMPLE = "twinbeam drift --input 'out/scores-*' --output out/drift.html"


def flags() -> argparse.ArgumentParser:
    """All flags of `drift`."""
    parser = CommandParser("drift", (__doc__ or "").splitlines()[0], EXAMPLE)
    parser.add_argument(
        "--input",
        nargs="+",
        required=True,
        metavar="DIR",
        help="folders of scores; local patterns in quotes",
    )
    parser.add_argument(
        "--output", required=True, metavar="FILE", help="the HTML file to write; it is replaced"
    )
    return parser


def run(argv: Sequence[str] | None = None) -> list[Night]:
    """Writes the page; returns the nights, the latest last."""
    args = flags().parse_args(sys.argv[1:] if argv is None else argv)
    if not args.output.endswith((".html", ".htm")):
        raise UserError(f"--output {args.output}: expected a name such as drift.html")
    target = files.output_file(args.output)
    nights = read_nights(folders(args.input))
    print(headline(nights))
    for line in changes(nights):
        print(f"  {line}")
    files.write_bytes(target, trend_page(nights).encode())
    print(f"{len(nights)} night{'s' if len(nights) > 1 else ''}: {args.output}")
    return nights


def folders(patterns: Sequence[str]) -> list[str]:
    """The folders of scores that the patterns name, each once.

    Raises:
        UserError: a pattern names none.
    """
    found: dict[str, None] = {}
    for pattern in patterns:
        named = [pattern]
        if files.is_local(pattern) and find_manifest(pattern.rstrip("/")) is None:
            named = sorted(glob.glob(pattern))
        stripped = (name.rstrip("/") for name in named)
        scored = [folder for folder in stripped if find_manifest(folder) is not None]
        if not scored:
            raise UserError(
                f"--input {pattern!r} is no folder of scores; expected the --output of score, or a "
                "pattern of such folders in quotes"
            )
        found |= dict.fromkeys(scored)
    return list(found)


def read_nights(named: Sequence[str]) -> list[Night]:
    """The runs in the order in which they began; those of before that was kept, by name first.

    Raises:
        UserError: a folder holds another thing than scores.
    """
    runs = [(folder, read_manifest(folder)) for folder in named]
    for folder, manifest in runs:
        if "rows_scored" not in manifest:
            raise UserError(f"{folder} holds no scores; expected the --output of score")
        if not _is_night(manifest):
            raise UserError(f"{folder}: its manifest was changed; score again")
    runs.sort(key=lambda run: (run[1].get("started", 0.0), run[0]))
    days = [_day(manifest) for _, manifest in runs]
    return [
        _night(folder, manifest, day if day and days.count(day) == 1 else folder.split("/")[-1])
        for (folder, manifest), day in zip(runs, days, strict=True)
    ]


def _is_night(manifest: dict[str, Any]) -> bool:
    """Whether a manifest has what is drawn of it, as scoring writes it."""
    counts = [manifest.get(name) for name in ("rows_in", "rows_rejected")]
    found, started = manifest.get("drift") or {}, manifest.get("started", 0.0)
    return (
        all(isinstance(count, int) and count >= 0 for count in counts)
        and isinstance(found, dict)
        and all(isinstance(v, int | float) and math.isfinite(v) for v in found.values())
        and isinstance(started, int | float)
        and 0 <= started < _LAST_START
        and isinstance(manifest.get("bundle", {}), dict)
    )


def _day(manifest: dict[str, Any]) -> str | None:
    """The day on which a run began; None where its manifest does not say."""
    started = manifest.get("started")
    return None if started is None else f"{datetime.fromtimestamp(started, UTC):%Y-%m-%d}"


def _night(folder: str, manifest: dict[str, Any], name: str) -> Night:
    return Night(
        folder=folder,
        name=name,
        bundle=str(manifest.get("bundle", {}).get("fingerprint", "")),
        rows=manifest["rows_in"],
        rejected=manifest["rows_rejected"],
        drift=manifest.get("drift") or {},
    )


def main() -> int:
    """The command line."""
    return command_line.run_main(run)


if __name__ == "__main__":
    raise SystemExit(main())
