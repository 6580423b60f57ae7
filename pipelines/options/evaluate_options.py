"""Options of `pipelines.evaluate`, from its flags."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pipelines.options import shared_flags
from pipelines.options.parser import CommandParser
from pipelines.options.scored_inputs import find_bundle, find_columns
from transforms.evaluation.bootstrap import RESAMPLES
from transforms.evaluation.scored_rows import ScoredColumns
from transforms.pairs import PairColumns

DESCRIPTION = "Measures labelled scores: metrics.json, plots, and a report to read."
EXAMPLE = "twinbeam evaluate --input scores --label_column label --output report"


@dataclass(frozen=True)
class EvaluateOptions:
    """The options of an evaluation."""

    inputs: tuple[str, ...]
    output: str
    columns: ScoredColumns = field(default_factory=ScoredColumns)
    bundle: str | None = None
    examples: str | None = None
    train_inputs: tuple[str, ...] = ()
    train_columns: PairColumns = field(default_factory=lambda: PairColumns(label="label"))
    doubts: str | None = None
    worst: int = 20
    resamples: int = RESAMPLES
    shard_rows: int = shared_flags.DEFAULT_SHARD_ROWS
    overwrite: bool = False
    beam_flags: tuple[str, ...] = ()

    def paths(self) -> list[str]:
        """Every path that workers use."""
        named = filter(None, [self.bundle, self.examples])
        return [*self.inputs, *self.train_inputs, self.output, *named]

    def identity(self) -> dict[str, Any]:
        """The options that decide what the report says."""
        return {key: one for key, one in asdict(self).items() if key != "beam_flags"}

    def decisive(self) -> dict[str, Any]:
        """The same by the names of flags, without what the inputs or the output say."""
        columns = self.columns
        return {
            "sentence_columns": [*columns.pairs.sides],
            "label_column": columns.pairs.label,
            "similarity_column": columns.similarity,
            "similarity_label_column": columns.predicted,
            "task": columns.task,
            "classes": columns.labels.classes and list(columns.labels.classes),
            "label_range": [columns.labels.minimum, columns.labels.maximum],
            "threshold": columns.threshold,
            "slice_column": list(columns.slices),
            "id_column": columns.id,
            "model": self.bundle,
            "examples": self.examples,
            "train_label_column": self.train_columns.label if self.train_inputs else None,
            "worst": self.worst,
            "resamples": self.resamples,
        }


def flags() -> argparse.ArgumentParser:
    """All flags that are ours."""
    parser = CommandParser("evaluate", DESCRIPTION, EXAMPLE, takes_beam_flags=True)
    add_flags(parser)
    return parser


def parse(argv: Sequence[str]) -> EvaluateOptions:
    """Flags → options.

    Raises:
        UserError: the flags contradict one another.
    """
    args, beam_flags = flags().parse_known_args(argv)
    pairs = shared_flags.columns(args)
    bundle = find_bundle(args.model, args.input)
    return EvaluateOptions(
        inputs=tuple(args.input),
        output=args.output.rstrip("/"),
        columns=find_columns(args, pairs, bundle),
        bundle=bundle,
        examples=args.examples.rstrip("/") if args.examples else None,
        train_inputs=tuple(args.train_input or ()),
        train_columns=PairColumns(*pairs.sides, args.train_label_column or args.label_column),
        doubts=args.doubts.rstrip("/") if args.doubts else None,
        worst=0 if args.redact else args.worst,
        resamples=args.resamples,
        shard_rows=args.shard_rows,
        overwrite=args.overwrite,
        beam_flags=tuple(beam_flags),
    )


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of evaluation."""
    reading = parser.add_argument_group("input")
    reading.add_argument(
        "--input",
        nargs="+",
        required=True,
        metavar="DIR",
        help="--output of score, or Parquet files of scores; patterns in quotes",
    )
    for name, default, what in (
        ("sentence1_column", "sentence1", "first sentence"),
        ("sentence2_column", "sentence2", "second sentence"),
        ("label_column", "label", "the true label"),
        (
            "id_column",
            None,
            "id of a row among the mistakes (default: the column id, if it exists)",
        ),
        ("similarity_column", "similarity", "similarity"),
        ("similarity_label_column", "similarity_label", "label that scoring assigned"),
    ):
        reading.add_argument(f"--{name}", default=default, help=what)
    reading.add_argument(
        "--threshold",
        type=shared_flags.fraction,
        help="label 1 from this similarity on, instead of the labels that scoring assigned",
    )
    reading.add_argument(
        "--shard_rows",
        type=shared_flags.positive,
        default=shared_flags.DEFAULT_SHARD_ROWS,
        help="rows of a shard, the unit of work",
    )
    _add_meaning_flags(parser)
    _add_report_flags(parser)


def _add_meaning_flags(parser: argparse.ArgumentParser) -> None:
    meaning = parser.add_argument_group(
        "meaning", "what is not given, the bundle of the scores says"
    )
    meaning.add_argument("--model", metavar="BUNDLE", help="the bundle that scored")
    meaning.add_argument(
        "--task", choices=("binary", "regression", "classes"), help="kind of labels"
    )
    meaning.add_argument("--classes", nargs="+", help="class names, the similar one last")
    meaning.add_argument(
        "--label_range",
        nargs=2,
        type=shared_flags.finite,
        metavar=("MIN", "MAX"),
        help="range of numeric labels",
    )


def _add_report_flags(parser: argparse.ArgumentParser) -> None:
    more = parser.add_argument_group("report")
    more.add_argument("--output", required=True, metavar="DIR", help="folder to write to")
    more.add_argument("--slice_column", nargs="+", default=[], help="measure each value separately")
    more.add_argument(
        "--train_input", nargs="+", metavar="GLOB", help="pairs the model was trained on"
    )
    more.add_argument("--train_label_column", help="their label (default: --label_column)")
    more.add_argument(
        "--examples",
        metavar="DIR",
        help="examples the model was trained on: measures sentences with unknown tokens separately",
    )
    more.add_argument(
        "--doubts", metavar="DIR", help="--output of doubts: shows labels that are likely wrong"
    )
    more.add_argument(
        "--worst",
        type=shared_flags.count,
        default=20,
        help="number of mistakes of each kind to show",
    )
    more.add_argument("--redact", action="store_true", help="show no sentences")
    more.add_argument(
        "--resamples",
        type=shared_flags.count,
        default=RESAMPLES,
        help="bootstrap resamples for the intervals",
    )
    more.add_argument("--overwrite", action="store_true", help="replace a report in --output")
