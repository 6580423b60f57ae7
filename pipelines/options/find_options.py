"""Options of a search for pairs, and their flags."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pipelines.dataflow import estimate
from pipelines.dataflow import flags as dataflow
from pipelines.options import shared_flags
from pipelines.options.parser import CommandParser
from pipelines.options.run_options import RunOptions, common_fields
from transforms.errors import UserError
from transforms.input.sentence_rows import DEFAULT_ID, SentenceColumns

DESCRIPTION = (
    "Finds the pairs of sentences of one table, or of two, that a bundle says are similar: every "
    "pair is accounted for."
)
EXAMPLE = "twinbeam find --input 'questions/*.parquet' --model bundle --output pairs"


@dataclass(frozen=True, kw_only=True)
class FindOptions(RunOptions):
    """The options of a search for pairs.

    Attributes:
        left: patterns of the table, or of the left one.
        right: patterns of the other table; none for pairs within one.
        within: whether pairs within `left` are looked for.
        columns: of both tables; without an id where none was named and the files have none.
        id_named: whether the id column was named.
        min_similarity: the least similarity; None takes the bundle's threshold.
        equal: all pairs of rows with equal sentences, or each with the first of them.
        top_k: how many partners of each sentence, the most similar; None for all.
        cells: how many cells sentences are divided into; 0 for none, None by the number of rows.
        recall: the share of pairs to be found; None for all.
        anchors: how many sentences are searched in full to measure it, about.
        labelled: patterns of labelled pairs; with them pairs are written to be trained on.
        labels: fingerprint of what those say.
        max_similarity: the greatest of a pair without a label, where there are labels.
        learned: whether the bundle compares by a learned head.
    """

    left: tuple[str, ...]
    right: tuple[str, ...] = ()
    within: bool = True
    model: str
    columns: SentenceColumns = field(default_factory=SentenceColumns)
    id_named: bool = False
    min_similarity: float | None = None
    equal: Literal["all", "first"] = "all"
    top_k: int | None = None
    cells: int | None = None
    recall: float | None = None
    anchors: int | None = None
    labelled: tuple[str, ...] = ()
    labels: str | None = None
    max_similarity: float | None = None
    learned: bool = False
    model_sha256: str | None = None
    embedding_store: str | None = None
    compression: str = "zstd"

    def paths(self) -> list[str]:
        """Every path that workers use."""
        given = (*self.left, *self.right, *self.labelled, self.embedding_store)
        return [self.model, self.output, *filter(None, given)]

    def identity(self) -> dict[str, Any]:
        """The options that decide the bytes of the output."""
        return {
            "sentence_column": self.columns.sentence,
            "id_column": self.columns.id,
            "keep_columns": list(self.columns.keep),
            "within": self.within,
            "min_similarity": self.min_similarity,
            "equal_sentences": self.equal,
            "top_k": self.top_k,
            "cells": self.cells,
            "recall": self.recall,
            "anchors": self.anchors,
            "labels": self.labels,
            "max_similarity": self.max_similarity,
            "compression": self.compression,
            **self.read_as(),
        }


def flags() -> argparse.ArgumentParser:
    """All flags that are ours."""
    parser = CommandParser("find", DESCRIPTION, EXAMPLE, takes_beam_flags=True)
    _add_input_flags(parser)
    _add_search_flags(parser)
    dataflow.add_flags(parser)
    estimate.add_flags(parser)
    return parser


def parse(argv: Sequence[str]) -> FindOptions:
    """Flags → options.

    Raises:
        UserError: the tables that are named do not go together.
    """
    args, beam_flags = flags().parse_known_args(argv)
    left, right, within = _tables(args)
    if args.max_similarity is not None and not args.labelled:
        raise UserError("--max_similarity is for pairs that are trained on; give --labelled too")
    id_column = DEFAULT_ID if args.id_column is None else args.id_column or None
    return FindOptions(
        **common_fields(args, beam_flags),
        left=left,
        right=right,
        within=within,
        model=args.model.rstrip("/"),
        columns=SentenceColumns(args.sentence_column, id_column, tuple(args.keep_columns)),
        id_named=args.id_column is not None,
        min_similarity=args.min_similarity,
        equal=args.equal_sentences,
        top_k=args.top_k,
        cells=args.cells,
        recall=args.recall,
        anchors=args.anchors,
        labelled=tuple(args.labelled),
        max_similarity=args.max_similarity,
        model_sha256=args.model_sha256,
        embedding_store=args.embedding_store,
        compression=args.compression,
    )


def _tables(args: argparse.Namespace) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
    """Left patterns, right patterns, and whether pairs within the left are looked for."""
    if args.input:
        if args.left or args.right:
            raise UserError(
                "--input is for the pairs of one table, --left and --right for those of two; to "
                "compare new rows with each other and with old ones: --input NEW --against OLD"
            )
        return tuple(args.input), tuple(args.against), True
    if not (args.left and args.right) or args.against:
        raise UserError(
            "expected --input GLOB (pairs within one table), --input NEW --against OLD (and with "
            "another), or --left GLOB --right GLOB (pairs of two tables)"
        )
    return tuple(args.left), tuple(args.right), False


def _add_input_flags(parser: CommandParser) -> None:
    group = parser.add_argument_group("input")
    tables = []
    for flag, text in (
        ("--input", "Parquet files of one table, within which pairs are found; patterns in quotes"),
        (
            "--against",
            "old rows: pairs of --input with these are found too, pairs among these are not",
        ),
        (
            "--left",
            "Parquet files of the first of two tables; only pairs between the two are found",
        ),
        ("--right", "Parquet files of the second table"),
    ):
        tables.append(group.add_argument(flag, nargs="+", default=[], metavar="GLOB", help=text))
    parser.need_one_of("(--input GLOB … | --left GLOB … --right GLOB …)", *tables[:1], *tables[2:])
    group.add_argument("--sentence_column", default="sentence", help="the sentence")
    group.add_argument(
        "--id_column",
        help="id of a row (default: the column id if it exists; otherwise, or with "
        "'', file name and row number)",
    )
    group.add_argument(
        "--keep_columns",
        nargs="+",
        default=[],
        metavar="NAME",
        help="further columns to keep, of both sides, as left_NAME and right_NAME",
    )
    shared_flags.add_shard_flags(group)


def _add_training_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("pairs to train on")
    group.add_argument(
        "--labelled",
        nargs="+",
        default=[],
        metavar="GLOB",
        help="labelled pairs (sentence1, sentence2, label): the output is then "
        "training data, with near pairs that are labelled different, or "
        "unlabelled, as hard negatives",
    )
    group.add_argument(
        "--max_similarity",
        type=shared_flags.finite,
        help="with --labelled: highest similarity of an unlabelled pair; a more "
        "similar pair may be a positive, and is left out",
    )


def _add_search_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("search")
    shared_flags.add_bundle_flags(group)
    group.add_argument(
        "--min_similarity",
        type=shared_flags.finite,
        help="lowest similarity of a pair (default: the bundle's threshold)",
    )
    group.add_argument(
        "--equal_sentences",
        choices=("all", "first"),
        default="all",
        help="rows with equal sentences: pair all of them with each other, or each "
        "with the first only, which then represents them (enough for "
        "clusters)",
    )
    group.add_argument(
        "--top_k",
        type=shared_flags.positive,
        metavar="K",
        help="keep only the K most similar partners of each sentence; with two "
        "tables, the K in the right one for each left sentence",
    )
    group.add_argument(
        "--cells",
        type=shared_flags.count,
        help="divide the sentences into this many cells and compare only pairs "
        "that may be near; 0 compares all with all (default: 0 up to two "
        "million rows)",
    )
    group.add_argument(
        "--recall",
        type=shared_flags.fraction,
        help="find about this share of the pairs, 0 to 1, and measure it (default: "
        "find all; 0.99 if the bundle has a learned head)",
    )
    group.add_argument(
        "--anchors",
        type=shared_flags.positive,
        help="sentences that are compared with all others to measure --recall "
        "(default: 1000, or 200 if the bundle has a learned head)",
    )
    _add_training_flags(parser)
    group = parser.add_argument_group("output")
    shared_flags.add_embedding_store(group)
    shared_flags.add_reject_limit(group)
    shared_flags.add_compression(group)
    group.add_argument(
        "--overwrite", action="store_true", help="replace pairs of another run in --output"
    )
