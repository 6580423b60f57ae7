"""Options of `pipelines.doubts`, from its flags."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pipelines.options import shared_flags
from pipelines.options.parser import CommandParser
from transforms.pairs import PairColumns

DESCRIPTION = "Ranks labelled pairs by how likely their label is wrong."
EXAMPLE = "twinbeam doubts --input 'labelled/*.parquet' --id_column id --output doubts"


@dataclass(frozen=True)
class DoubtsOptions:
    """The options of a search for doubtful labels.

    Attributes:
        inputs: Parquet files of labelled pairs, with labels 0 and 1.
        output: the folder to write to.
        columns: of the sentences and the label.
        id_column: what names a row; None names it by its file and its number there.
        similarity: a column of a model that did not train on these labels.
        model: a bundle that did not train on them, for the vectors of the sentences.
        show: how many the page shows.
        seed: of the folds.
        overwrite: whether an earlier result is replaced.
    """

    inputs: tuple[str, ...]
    output: str
    columns: PairColumns = field(default_factory=lambda: PairColumns(label="label"))
    id_column: str | None = None
    similarity: str | None = None
    model: str | None = None
    show: int = 100
    seed: int = 0
    overwrite: bool = False

    def identity(self) -> dict[str, Any]:
        """The options that decide the result."""
        return {key: one for key, one in asdict(self).items() if key not in ("output", "overwrite")}


def flags() -> argparse.ArgumentParser:
    """The command's argument parser."""
    parser = CommandParser("doubts", DESCRIPTION, EXAMPLE)
    parser.add_argument(
        "--input", nargs="+", required=True, metavar="GLOB",
        help="Parquet files of pairs labelled 0 and 1; patterns in quotes",
    )  # fmt: skip
    columns = parser.add_argument_group("input")
    for name, what in (
        ("sentence1", "first sentence"),
        ("sentence2", "second"),
        ("label", "label"),
    ):
        columns.add_argument(f"--{name}_column", default=name, help=what)
    columns.add_argument("--id_column", help="id of a row (default: file and row number)")
    columns.add_argument(
        "--similarity_column",
        help="similarity by a model that was not trained on these labels: additional evidence",
    )
    parser.add_argument(
        "--model", metavar="BUNDLE",
        help="a bundle that was not trained on these labels, such as that of train "
        "--recipe universal-cosine; its vectors determine the nearest "
        "sentences",
    )  # fmt: skip
    parser.add_argument("--output", required=True, metavar="DIR", help="folder to write to")
    parser.add_argument(
        "--show", type=shared_flags.positive, default=100, help="number of labels on the page"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the cross-validation folds")
    parser.add_argument("--overwrite", action="store_true", help="replace what is in --output")
    return parser


def parse(argv: Sequence[str]) -> DoubtsOptions:
    """Flags → options."""
    args = flags().parse_args(argv)
    return DoubtsOptions(
        inputs=tuple(args.input),
        output=args.output.rstrip("/"),
        columns=shared_flags.columns(args),
        id_column=args.id_column,
        similarity=args.similarity_column,
        model=args.model.rstrip("/") if args.model else None,
        show=args.show,
        seed=args.seed,
        overwrite=args.overwrite,
    )
