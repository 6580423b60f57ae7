"""Looks after an embedding store: compacts it into few files without repeats.

twinbeam store compact DIR
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pipelines.options import command_line
from pipelines.options.parser import CommandParser
from transforms.scoring.embedding_store import open_store

EXAMPLE = "twinbeam store compact embeddings"


def flags() -> argparse.ArgumentParser:
    """All flags of `store`."""
    parser = CommandParser("store", (__doc__ or "").splitlines()[0], EXAMPLE)
    parser.add_argument("action", choices=("compact",), help="what to do")
    parser.add_argument("folder", metavar="DIR", help="the store, local or gs://")
    return parser


def run(argv: Sequence[str] | None = None) -> tuple[int, int]:
    """Compacts, and returns how many files there were and are."""
    args = flags().parse_args(sys.argv[1:] if argv is None else argv)
    before, after = open_store(args.folder.rstrip("/")).compact()
    print(f"{args.folder}: {before} files → {after}")
    return before, after


def main() -> int:
    """The command line."""
    return command_line.run_main(run)


if __name__ == "__main__":
    raise SystemExit(main())
