"""Turns labelled Parquet of sentence pairs into examples to train on.

Local: twinbeam preprocess --input 'pairs/*.parquet' --recipe char-bilstm-manhattan \
--output examples
Dataflow: the same with --runner=DataflowRunner --project=… --region=… --temp_location=gs://…
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from pipelines.examples.make_examples import make_examples
from pipelines.examples.teachers import ask_teachers
from pipelines.options import command_line
from pipelines.options.preprocess_options import parse
from pipelines.scoring.score_pairs import score_pairs


def run(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Preprocesses, and returns the manifest."""
    options = parse(sys.argv[1:] if argv is None else argv)
    return make_examples(ask_teachers(options, score_pairs))


def main() -> int:
    """The command line."""
    return command_line.run_main(run)


if __name__ == "__main__":
    raise SystemExit(main())
