"""Trains a recipe's network on an examples folder and writes a bundle.

Local: twinbeam train --examples examples --output bundle
Without data: twinbeam train --recipe universal-cosine --output bundle
Several machines: the same on each of them, with TF_CONFIG set.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from model.recipe.reading import describe_recipes
from pipelines.options import command_line
from pipelines.options.train_options import parse
from pipelines.training.train_bundle import train_bundle
from pipelines.training.untrained_bundle import make_untrained


def run(argv: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Trains, and returns the metrics; None where recipes were only listed."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if "--list_recipes" in argv:
        for name, line in describe_recipes():
            print(f"{name:28} {line}")
        return None
    options = parse(argv)
    return train_bundle(options) if options.examples else make_untrained(options)


def main() -> int:
    """Exit code 0 done, 2 unusable input, 1 failed."""
    return command_line.run_main(run)


if __name__ == "__main__":
    raise SystemExit(main())
