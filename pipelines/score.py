"""Scores Parquet of sentence pairs with a bundle: the same rows, a similarity and a label.

Local: twinbeam score --input 'pairs/*.parquet' --model bundle --output scores
Dataflow: the same with --runner=DataflowRunner --project=… --region=… --temp_location=gs://…
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from pipelines.options import command_line
from pipelines.options.score_options import parse
from pipelines.scoring.score_pairs import score_pairs


def run(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Scores, and returns the manifest."""
    return score_pairs(parse(sys.argv[1:] if argv is None else argv))


def main() -> int:
    """The command line."""
    return command_line.run_main(run)


if __name__ == "__main__":
    raise SystemExit(main())
