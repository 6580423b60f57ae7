"""Options of making clusters of pairs, and their flags."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.dataflow import flags as dataflow
from pipelines.options import shared_flags
from pipelines.options.parser import CommandParser
from transforms.errors import UserError

DESCRIPTION = (
    "Groups similar pairs into clusters: each row gets the id of its cluster, which is stable from "
    "one run to the next."
)
EXAMPLE = "twinbeam cluster --input pairs --output clusters"


@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """The options of making clusters.

    Attributes:
        inputs: folders of find or score, or patterns of pairs.
        output: the output folder.
        ids: columns of the two ids; None for those of find or, without them, the sentences.
        sentences: columns of the two sentences.
        similarity: column of the similarity.
        min_similarity: pairs below are left out.
        rows: patterns of the table of all rows: those in no pair are clusters of their own.
        id_column: of that table.
        sentence_column: of that table.
        previous: folder of the clusters of an earlier run, whose ids are kept.
        max_cluster: larger clusters are reported; None for none.
        cut: whether they are cut at their weakest edges.
        edges_at_once: how many edges a task may hold, about.
    """

    inputs: tuple[str, ...]
    output: str
    ids: tuple[str, str] | None = None
    sentences: tuple[str, str] = ("sentence1", "sentence2")
    similarity: str = "similarity"
    min_similarity: float | None = None
    rows: tuple[str, ...] = ()
    id_column: str = "id"
    sentence_column: str = "sentence"
    previous: str | None = None
    max_cluster: int | None = None
    cut: bool = False
    edges_at_once: int = 2_000_000
    shard_rows: int = shared_flags.DEFAULT_SHARD_ROWS
    max_reject_fraction: float = shared_flags.DEFAULT_REJECT_FRACTION
    overwrite: bool = False
    beam_flags: tuple[str, ...] = ()

    def paths(self) -> list[str]:
        """Every path that workers use."""
        return [*self.inputs, *self.rows, self.output, *filter(None, [self.previous])]

    def identity(self) -> dict[str, Any]:
        """The options that decide the bytes of the output."""
        return {
            "ids": self.ids,
            "sentences": self.sentences,
            "similarity": self.similarity,
            "min_similarity": self.min_similarity,
            "id_column": self.id_column,
            "sentence_column": self.sentence_column,
            "max_cluster": self.max_cluster,
            "cut": self.cut,
            "edges_at_once": self.edges_at_once,
            "shard_rows": self.shard_rows,
        }


def flags() -> argparse.ArgumentParser:
    """All flags that are ours."""
    parser = CommandParser("cluster", DESCRIPTION, EXAMPLE, takes_beam_flags=True)
    _add_input_flags(parser)
    _add_cluster_flags(parser)
    dataflow.add_flags(parser)
    return parser


def parse(argv: Sequence[str]) -> ClusterOptions:
    """Flags → options.

    Raises:
        UserError: they do not go together.
    """
    args, beam_flags = flags().parse_known_args(argv)
    if (args.id1_column is None) != (args.id2_column is None):
        raise UserError("--id1_column and --id2_column go together; give both or none")
    if args.cut and args.max_cluster is None:
        raise UserError("--cut goes with --max_cluster, which says how large a cluster may be")
    if args.accelerator:
        raise UserError("--accelerator: clusters need no accelerator; leave it out")
    return ClusterOptions(
        inputs=tuple(pattern.rstrip("/") for pattern in args.input),
        output=args.output.rstrip("/"),
        ids=(args.id1_column, args.id2_column) if args.id1_column else None,
        sentences=(args.sentence1_column, args.sentence2_column),
        similarity=args.similarity_column,
        min_similarity=args.min_similarity,
        rows=tuple(args.rows),
        id_column=args.id_column,
        sentence_column=args.sentence_column,
        previous=args.previous.rstrip("/") if args.previous else None,
        max_cluster=args.max_cluster,
        cut=args.cut,
        edges_at_once=args.edges_at_once,
        shard_rows=args.shard_rows,
        max_reject_fraction=args.max_reject_fraction,
        overwrite=args.overwrite,
        beam_flags=tuple(beam_flags),
    )


def _add_input_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("input")
    group.add_argument(
        "--input",
        nargs="+",
        required=True,
        metavar="DIR",
        help="folders of find or of score, or Parquet files of pairs; patterns in quotes",
    )
    group.add_argument(
        "--id1_column", help="first id (default: id1; without it the sentences are the ids)"
    )
    group.add_argument("--id2_column", help="second id (default: id2)")
    group.add_argument("--sentence1_column", default="sentence1", help="first sentence")
    group.add_argument("--sentence2_column", default="sentence2", help="second sentence")
    group.add_argument("--similarity_column", default="similarity", help="column of the similarity")
    group.add_argument(
        "--min_similarity",
        type=shared_flags.finite,
        help="pairs below this are left out (default: all pairs of find are used)",
    )
    group.add_argument(
        "--rows",
        nargs="+",
        default=[],
        metavar="GLOB",
        help="Parquet files of all rows; rows in no pair become clusters of one",
    )
    group.add_argument("--id_column", default="id", help="id of a row in --rows")
    group.add_argument("--sentence_column", default="sentence", help="the sentence in --rows")
    group.add_argument(
        "--shard_rows",
        type=shared_flags.positive,
        default=shared_flags.DEFAULT_SHARD_ROWS,
        help="rows per input shard; row groups are not split",
    )


def _add_cluster_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("clusters")
    group.add_argument("--output", required=True, metavar="DIR", help="folder to write to")
    group.add_argument(
        "--previous",
        metavar="DIR",
        help="clusters of an earlier run, whose ids are kept where possible",
    )
    group.add_argument(
        "--max_cluster",
        type=shared_flags.positive,
        metavar="ROWS",
        help="report larger clusters, with the weakest edges that hold them together",
    )
    group.add_argument(
        "--cut", action="store_true", help="cut clusters larger than --max_cluster at these edges"
    )
    group.add_argument(
        "--edges_at_once",
        type=shared_flags.positive,
        default=2_000_000,
        help="edges that a task holds, about: fewer need less memory and more tasks",
    )
    shared_flags.add_reject_limit(group)
    group.add_argument(
        "--overwrite", action="store_true", help="replace clusters of another run in --output"
    )
