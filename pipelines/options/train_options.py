"""Options of `pipelines.train`, from its flags."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from model.threshold import EXPECTED, check_rule
from pipelines.options import shared_flags
from pipelines.options.parser import CommandParser
from transforms.errors import UserError

if TYPE_CHECKING:
    from model.training.train import TrainOptions

DESCRIPTION = "Trains a recipe's network on examples and writes a bundle."
EXAMPLE = "twinbeam train --examples examples --output bundle --epochs 5"

STRATEGIES = ("auto", "one", "mirrored", "multi_worker")


def threshold_rule(text: str) -> str:
    """A flag's rule for the threshold."""
    try:
        return check_rule(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def named_input(text: str) -> tuple[str, str]:
    """`NAME=GLOB` as both."""
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"expected NAME=GLOB, received {text!r}")
    return name, path


def flags() -> argparse.ArgumentParser:
    """All flags of training."""
    parser = CommandParser("train", DESCRIPTION, EXAMPLE)
    source = parser.add_mutually_exclusive_group(required=True)
    examples = source.add_argument("--examples", metavar="DIR", help="--output of preprocess")
    recipe = source.add_argument(
        "--recipe",
        metavar="NAME",
        help="without --examples: a recipe or its file, whose pre-trained model is "
        "used without fine-tuning",
    )
    parser.need_one_of("(--examples DIR | --recipe NAME)", examples, recipe)
    parser.add_argument(
        "--output", required=True, metavar="DIR", help="folder of the bundle, local or gs://"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing bundle")
    parser.add_argument("--list_recipes", action="store_true", help="list recipes and exit")
    _add_training_flags(parser)
    _add_kept_flags(parser)
    return parser


def _add_training_flags(parser: argparse.ArgumentParser) -> None:
    training = parser.add_argument_group("training", "what is not given the recipe decides")
    training.add_argument("--epochs", type=shared_flags.positive, help="passes over all examples")
    training.add_argument("--seed", type=int, help="seed of weights, order and dropout")
    training.add_argument(
        "--global_batch_size",
        type=shared_flags.positive,
        help="batch size of a step, over all replicas",
    )
    training.add_argument("--strategy", choices=STRATEGIES, default="auto", help="where to train")
    training.add_argument(
        "--threshold_rule",
        type=threshold_rule,
        metavar="RULE",
        help=f"rule that chooses the label threshold on the evaluation part "
        f"(default: the recipe's): {EXPECTED}",
    )
    training.add_argument(
        "--init_from", metavar="BUNDLE", help="start from its weights (fine-tuning)"
    )
    training.add_argument(
        "--more_examples",
        nargs="+",
        default=[],
        metavar="DIR",
        help="further examples, each with the loss of its own recipe, in "
        "steps mixed with the others; text and encoder must equal those of "
        "--examples, which decide everything else",
    )
    training.add_argument(
        "--eval_input",
        nargs="+",
        default=[],
        type=named_input,
        metavar="NAME=GLOB",
        help="labelled Parquet that the finished network is measured on (no effect on training)",
    )


def _add_kept_flags(parser: argparse.ArgumentParser) -> None:
    kept = parser.add_argument_group("checkpoints and logs")
    kept.add_argument(
        "--checkpoints",
        metavar="DIR",
        help="folder for checkpoints; a run resumes from the last one",
    )
    kept.add_argument(
        "--checkpoint_steps", type=shared_flags.positive, help="save after this many steps"
    )
    kept.add_argument(
        "--checkpoint_minutes",
        type=shared_flags.not_negative,
        default=10,
        help="save after this many minutes; 0: never",
    )
    kept.add_argument("--log_json", metavar="FILE", help="add a JSON line after each epoch")
    kept.add_argument("--tensorboard", metavar="DIR", help="write TensorBoard logs")


def parse(argv: Sequence[str]) -> TrainOptions:
    """The run that the flags ask for."""
    parser = flags()
    given = vars(parser.parse_args(argv))
    given.pop("list_recipes")
    named, more = given.pop("eval_input"), tuple(given.pop("more_examples"))
    if len(dict(named)) < len(named):
        parser.error("--eval_input: each needs a name of its own")
    from model.training.train import TrainOptions  # help reads no recipe

    options = TrainOptions(**given, eval_inputs=tuple(named), more_examples=more)
    if options.recipe:
        refuse_training_flags(options)
    return options


def refuse_training_flags(options: TrainOptions) -> None:
    """Refuses flags that mean nothing where nothing is trained.

    Raises:
        UserError: names the first of them.
    """
    plain = type(options)(None, options.output, options.recipe, overwrite=options.overwrite)
    for name, value in vars(options).items():
        if value != getattr(plain, name):
            raise UserError(
                f"--{name}: nothing is trained without --examples; leave it out, or give examples"
            )
