"""The options of preprocessing, and their flags."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pipelines.options import shared_flags
from pipelines.options.parser import CommandParser
from pipelines.options.run_options import PairOptions, add_pair_flags, common_fields
from transforms.errors import UserError
from transforms.examples.sentence_keys import SentenceKeys
from transforms.examples.split import EvalSplit
from transforms.pairs import PairColumns

if TYPE_CHECKING:
    from model.recipe import Recipe
    from transforms.examples.read_pairs import PairReading

DESCRIPTION = "Turns labelled Parquet of sentence pairs into examples to train on."
EXAMPLE = (
    "twinbeam preprocess --input 'pairs/*.parquet' --recipe char-bilstm-manhattan --output examples"
)


FILE_ROWS = 1_000_000  # in a file of examples, some 50 MB
LEAST_TRAIN_FILES = 16  # so that several readers find work


@dataclass(frozen=True, kw_only=True)
class PreprocessOptions(PairOptions):
    """The options of a preprocessing run."""

    recipe: Recipe
    train_shards: int | None = None
    eval_shards: int | None = None
    split: EvalSplit = field(default_factory=lambda: EvalSplit(0.1))
    measured_inputs: tuple[str, ...] = ()
    taught: tuple[dict[str, Any], ...] = ()  # what teachers in the recipe scored, and where

    @property
    def measured_reading(self) -> PairReading:
        """How rows of the measured files are read: their labels do not matter."""
        return replace(
            self.reading, columns=replace(self.columns, label=None, weight=None, teachers=())
        )

    @property
    def reading(self) -> PairReading:
        """How rows become raw features."""
        from transforms.examples.read_pairs import PairReading

        return PairReading(self.columns, self.recipe.label_rule, self.split, self.max_chars)

    def file_counts(self, rows: int) -> dict[str, int]:
        """How many files of examples each part gets: the given number, or by its rows.

        Args:
            rows: of the whole input.
        """
        held_out = round(rows * self.split.fraction)
        needed = max(LEAST_TRAIN_FILES, -(-(rows - held_out) // FILE_ROWS))
        return {
            "train": self.train_shards or needed,
            "eval": self.eval_shards or max(1, -(-held_out // FILE_ROWS)),
        }

    def to_json(self) -> dict[str, Any]:
        """The options as the manifest keeps them."""
        return {
            "inputs": list(self.inputs),
            "columns": [*self.columns.texts, self.columns.label],
            "eval_fraction": self.split.fraction,
            "eval_split": self.split.by,
            "measured_inputs": list(self.measured_inputs),
            "numbers": self.columns.number_features,
            "number_columns": [name for _, name in self.columns.numbers],
            "teachers": [each["bundle"] for each in self.taught],
            "keyed": self.columns.keyed,
            "max_sentence_chars": self.max_chars,
            "shard_rows": self.shard_rows,
        }


def flags() -> argparse.ArgumentParser:
    """All flags that are ours."""
    parser = CommandParser("preprocess", DESCRIPTION, EXAMPLE, takes_beam_flags=True)
    add_pair_flags(parser, add_flags, label="label")
    return parser


def parse(argv: Sequence[str]) -> PreprocessOptions:
    """Flags → options."""
    args, beam_flags = flags().parse_known_args(argv)
    from model.recipe.reading import load_recipe  # help reads no recipe

    recipe = load_recipe(args.recipe)
    fraction = recipe.text.eval_fraction if args.eval_fraction is None else args.eval_fraction
    return PreprocessOptions(
        **common_fields(args, beam_flags),
        inputs=tuple(args.input),
        recipe=recipe,
        columns=example_columns(args, recipe),
        train_shards=args.train_shards,
        eval_shards=args.eval_shards,
        split=EvalSplit(fraction, recipe.text.eval_split, keys=sentence_keys(recipe)),
        measured_inputs=tuple(args.measured_input),
    )


def sentence_keys(recipe: Recipe) -> SentenceKeys:
    """When two sentences are the same to the recipe's model."""
    text = recipe.text
    return SentenceKeys(text.tokenizer, text.lowercase, text.nfkc, text.max_tokens)


def example_columns(args: argparse.Namespace, recipe: Recipe) -> PairColumns:
    """The columns that the flags name; triplets have a negative where pairs have a label."""
    pairs = shared_flags.columns(args)
    teachers = tuple(args.teacher_column)
    check_teachers(teachers, recipe)
    if recipe.labels.transitive and (recipe.distill or args.weight_column):
        raise UserError(
            "--weight_column and teachers say nothing of inferred pairs; set "
            "labels.transitive: 0 in the recipe"
        )
    unlabelled = recipe.reads_positives or recipe.reads_triplets
    return replace(
        pairs,
        label=None if unlabelled else pairs.label,
        negative=args.negative_column if recipe.reads_triplets else None,
        weight=args.weight_column,
        teachers=teachers,
    )


def check_teachers(columns: tuple[str, ...], recipe: Recipe) -> None:
    """Checks that a recipe that learns from teachers has them, from one place.

    Raises:
        UserError: it has none, or two sorts of them; or the recipe learns from none.
    """
    if recipe.distill is None and columns:
        raise UserError(
            "--teacher_column: the recipe learns from no teacher; add 'distill: {weight: 0.5}' to "
            "it"
        )
    if recipe.distill is not None and bool(recipe.distill.teacher) == bool(columns):
        found = "both" if columns else "neither"
        raise UserError(
            "the recipe's 'distill' needs either 'teacher: BUNDLE' or scores in the data "
            f"(--teacher_column); received {found}"
        )


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of preprocessing."""
    group = parser.add_argument_group("preprocessing")
    group.add_argument("--recipe", required=True, metavar="NAME", help="a recipe, or its file")
    group.add_argument("--output", required=True, metavar="DIR", help="folder to write to")
    group.add_argument(
        "--negative_column",
        default="negative",
        help="for recipes with given triplets: the sentence that differs from the first one",
    )
    group.add_argument("--weight_column", help="weight of a row in the loss, a number from 0")
    group.add_argument(
        "--teacher_column",
        nargs="+",
        default=[],
        help="similarities by other models, for recipes with 'distill' and no "
        "teacher; the mean of several. The label may then be null",
    )
    group.add_argument(
        "--train_shards",
        type=shared_flags.positive,
        help=f"number of files to train on (default: one for {FILE_ROWS:,} rows, at least "
        f"{LEAST_TRAIN_FILES})",
    )
    group.add_argument(
        "--eval_shards",
        type=shared_flags.positive,
        help=f"number of files to evaluate on (default: one for {FILE_ROWS:,} rows)",
    )
    group.add_argument(
        "--eval_fraction",
        type=shared_flags.fraction,
        help="share of the pairs to evaluate on (default: the recipe's)",
    )
    group.add_argument(
        "--max_reject_fraction",
        type=shared_flags.fraction,
        default=shared_flags.DEFAULT_REJECT_FRACTION,
        help="with more rejected rows than this the run fails",
    )
    group.add_argument(
        "--measured_input",
        nargs="+",
        default=[],
        metavar="GLOB",
        help="Parquet that the model will be measured on; its pairs are never "
        "inferred (labels.transitive)",
    )
    group.add_argument("--overwrite", action="store_true", help="replace examples in --output")
