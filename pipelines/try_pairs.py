"""Scores single pairs with a bundle, to get a feeling for it.

twinbeam try bundle "how do I pay?" "where can I pay?"
Without sentences it reads pairs from standard input, a line each, parted by a tab.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pipelines.options import command_line
from transforms.errors import UserError

EXAMPLE = 'twinbeam try bundle "how do I pay?" "where can I pay?"'


def flags() -> argparse.ArgumentParser:
    """All flags of `try`."""
    parser = command_line.parser("try", (__doc__ or "").splitlines()[0], EXAMPLE)
    parser.add_argument("bundle", help="folder of the bundle, local or gs://")
    parser.add_argument(
        "sentences", nargs="*", help="the two sentences; without them a pair a line from stdin"
    )
    return parser


def run(argv: Sequence[str] | None = None) -> int:
    """Scores, and returns how many pairs."""
    args = flags().parse_args(argv)
    if len(args.sentences) not in (0, 2):
        raise UserError(f"expected two sentences or none, received {len(args.sentences)}")
    from model.bundle.loading import load

    bundle = load(args.bundle.rstrip("/"))
    pairs = [tuple(args.sentences)] if args.sentences else read_pairs(sys.stdin)
    tried = 0
    for sentence1, sentence2 in pairs:
        print(format_scores(bundle, sentence1, sentence2), flush=True)
        tried += 1
    return tried


def format_scores(bundle: Any, sentence1: str, sentence2: str) -> str:
    """Similarity and label of a pair, parted by a tab; probabilities behind them.

    Raises:
        UserError: a sentence is blank.
    """
    if not sentence1.strip() or not sentence2.strip():
        raise UserError("a sentence is blank; expected two with something in them")
    scored = bundle.score(np.array([sentence1], object), np.array([sentence2], object))
    classes = bundle.manifest.get("classes")
    label = int(scored["label"][0])
    words = [f"similarity {scored['similarity'][0]:.4f}"]
    if bundle.manifest.get("task") != "regression":
        words.append(f"label {classes[label] if classes else label}")
    for name, chance in zip(classes or (), scored.get("probabilities", [[]])[0], strict=True):
        words.append(f"{name} {chance:.4f}")
    return "\t".join(words)


def read_pairs(lines: Any) -> Iterator[tuple[str, str]]:
    """The pairs of a stream, a line each; lines that hold none are told and left out."""
    if lines.isatty():
        print("two sentences a line, parted by a tab; Ctrl-D ends", file=sys.stderr)
    for line in lines:
        sentence1, tab, sentence2 = line.rstrip("\n").partition("\t")
        if tab and sentence1.strip() and sentence2.strip():
            yield sentence1, sentence2
        elif line.strip():
            print(f"twinbeam: no tab between two sentences in {line.strip()!r}", file=sys.stderr)


def main() -> int:
    """The command line."""
    return command_line.run_main(run)
