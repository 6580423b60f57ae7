"""Options of `pipelines.label`, from its flags."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pipelines.options import shared_flags
from pipelines.options.parser import CommandParser
from transforms.errors import UserError
from transforms.pairs import PairColumns

DESCRIPTION = "Chooses the pairs that people should label, and judges a model by their answers."
EXAMPLE = "twinbeam label --input scores --output to-label --pairs 500"


@dataclass(frozen=True)
class NextRound:
    """What a round of labelling needs besides pairs and labels.

    Attributes:
        model: the bundle that the rounds begin with.
        recipe: to fine-tune by; None for the bundle's own.
    """

    model: str
    recipe: str | None = None


@dataclass(frozen=True)
class LabelOptions:
    """The options of a choice of pairs, or of an estimate.

    Attributes:
        inputs: scores, or with `next` pairs; none where answers are to be judged.
        output: the folder of the choice.
        pairs: how many are chosen.
        random_share: of them at random.
        columns: the sentence columns.
        similarities: columns of similarity, one or several.
        threshold: same from this similarity on; None takes the one of the scores' bundle.
        cluster: a column by which pairs belong together.
        seed: another seed is another choice.
        labelled: files of pairs that have a label already.
        estimate: files of answers to judge the scores by; nothing is chosen then.
        shard_rows: rows of a unit of work.
        overwrite: whether an earlier choice is replaced.
        next: make a round: fine-tune on the labels, score, choose.
        beam_flags: Beam's.
    """

    inputs: tuple[str, ...]
    output: str
    pairs: int = 500
    random_share: float = 0.2
    columns: PairColumns = field(default_factory=PairColumns)
    similarities: tuple[str, ...] = ("similarity",)
    threshold: float | None = None
    cluster: str | None = None
    seed: int = 0
    labelled: tuple[str, ...] = ()
    estimate: tuple[str, ...] = ()
    shard_rows: int = shared_flags.DEFAULT_SHARD_ROWS
    overwrite: bool = False
    next: NextRound | None = None
    beam_flags: tuple[str, ...] = ()

    def identity(self) -> dict[str, Any]:
        """The options that decide which pairs are chosen."""
        aside = ("beam_flags", "overwrite", "output", "estimate", "next")
        return {key: one for key, one in asdict(self).items() if key not in aside}

    def paths(self) -> list[str]:
        """Every path that workers use."""
        return [*self.inputs, *self.labelled, self.output]


def parse(argv: Sequence[str]) -> LabelOptions:
    """Flags → options.

    Raises:
        UserError: the flags contradict one another.
    """
    args, beam_flags = flags().parse_known_args(argv)
    if bool(args.input) == bool(args.estimate):
        raise UserError("give --input SCORES to choose pairs, or --estimate LABELS to judge them")
    check_next(args)
    return LabelOptions(
        inputs=tuple(args.input),
        output=args.output.rstrip("/"),
        pairs=args.pairs,
        random_share=args.random_share,
        columns=shared_flags.columns(args),
        similarities=tuple(args.similarity_column),
        threshold=args.threshold,
        cluster=args.cluster_column,
        seed=args.seed,
        labelled=tuple(args.labelled),
        estimate=tuple(args.estimate),
        shard_rows=args.shard_rows,
        overwrite=args.overwrite,
        next=NextRound(args.model.rstrip("/"), args.recipe) if args.next else None,
        beam_flags=tuple(beam_flags),
    )


def check_next(args: argparse.Namespace) -> None:
    """Checks what belongs to --next.

    Raises:
        UserError: names the flag.
    """
    if not args.next:
        for name in ("model", "recipe"):
            if getattr(args, name):
                raise UserError(f"--{name} belongs to --next: pairs are chosen from scores")
        return
    if not args.model:
        raise UserError("--next needs --model BUNDLE, the bundle that the rounds begin with")
    refused = {
        "estimate": args.estimate,
        "threshold": args.threshold is not None,
        "similarity_column": args.similarity_column != ["similarity"],
        "overwrite": args.overwrite,
    }
    for name, given in refused.items():
        if given:
            raise UserError(
                f"--{name} does not go with --next, which scores with a bundle of its own and adds "
                "a round to --output; leave it out"
            )


def flags() -> argparse.ArgumentParser:
    """The command's argument parser."""
    parser = CommandParser("label", DESCRIPTION, EXAMPLE, takes_beam_flags=True)
    add_flags(parser)
    return parser


def add_flags(parser: CommandParser) -> None:
    """Adds the flags of a choice."""
    reading = parser.add_argument_group("input")
    scores = reading.add_argument(
        "--input", nargs="+", default=[], metavar="DIR",
        help="--output of score or find, or Parquet files; with --next pairs without scores; "
        "patterns in quotes",
    )  # fmt: skip
    for name in ("sentence1", "sentence2"):
        reading.add_argument(f"--{name}_column", default=name, help="sentence")
    reading.add_argument(
        "--similarity_column", nargs="+", default=["similarity"],
        help="similarity; with several columns, pairs on which they differ most are chosen",
    )  # fmt: skip
    reading.add_argument(
        "--cluster_column", help="column of which each value is in only a few chosen pairs"
    )
    reading.add_argument(
        "--labelled", nargs="+", default=[], metavar="GLOB",
        help="labels saved earlier, Parquet or CSV; their pairs are not chosen again",
    )  # fmt: skip
    reading.add_argument(
        "--shard_rows",
        type=shared_flags.positive,
        default=shared_flags.DEFAULT_SHARD_ROWS,
        help="rows of a shard, the unit of work",
    )
    choice = parser.add_argument_group("choice")
    choice.add_argument("--output", required=True, metavar="DIR", help="folder to write to")
    choice.add_argument(
        "--pairs", type=shared_flags.positive, default=500, help="number of pairs to choose"
    )
    choice.add_argument(
        "--random_share", type=shared_flags.fraction, default=0.2,
        help="share of random pairs, from which precision and recall are estimated",
    )  # fmt: skip
    choice.add_argument(
        "--threshold", type=shared_flags.fraction,
        help="same from this similarity on (default: the scores' bundle's, or 0.5)",
    )  # fmt: skip
    choice.add_argument("--seed", type=int, default=0, help="seed of the random choice")
    choice.add_argument("--overwrite", action="store_true", help="replace a choice in --output")
    rounds = parser.add_argument_group("rounds")
    rounds.add_argument(
        "--next", action="store_true",
        help="a round: read labels, fine-tune, score --input, choose again; run "
        "the same command each round, with --labelled as a pattern that "
        "matches all saved labels",
    )  # fmt: skip
    rounds.add_argument("--model", metavar="BUNDLE", help="the bundle from which the rounds start")
    rounds.add_argument(
        "--recipe", metavar="NAME", help="recipe for fine-tuning (default: the bundle's)"
    )
    judging = parser.add_argument_group("what the answers say")
    answers = judging.add_argument(
        "--estimate", nargs="+", default=[], metavar="LABELS",
        help="label files saved by the page, from which precision and recall of "
        "all scores in --output are estimated",
    )  # fmt: skip
    parser.need_one_of("(--input DIR … | --estimate LABELS …)", scores, answers)
