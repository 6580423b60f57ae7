"""Looks after an embedding store: compacts it into few files without repeats.

python -m pipelines.store compact DIR
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pipelines.options import command_line
from transforms.scoring.embedding_store import open_store


def run(argv: Sequence[str] | None = None) -> tuple[int, int]:
    """Compacts, and returns how many files there were and are."""
    parser = command_line.parser(
        "store", __doc__.splitlines()[0], "python -m pipelines.store compact embeddings"
    )
    parser.add_argument("action", choices=("compact",), help="what to do")
    parser.add_argument("folder", metavar="DIR", help="the store, local or gs://")
    args = parser.parse_args(sys.argv[1:] if argv is None else argv)
    before, after = open_store(args.folder.rstrip("/")).compact()
    print(f"{args.folder}: {before} files → {after}")
    return before, after


def main() -> int:
    """The command line."""
    return command_line.run_main(run)


if __name__ == "__main__":
    raise SystemExit(main())
