"""Flags that several commands have, and the kinds of values that flags take."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING

from transforms.input.partitions import TEXT, TYPES
from transforms.pairs import PairColumns

if TYPE_CHECKING:
    pass

DEFAULT_MAX_CHARS = 10_000
DEFAULT_SHARD_ROWS = 131_072
DEFAULT_REJECT_FRACTION = 0.05


def add_input_flags(to: argparse.ArgumentParser, *, label: str | None) -> None:
    """Adds the flags that say which rows and columns are read."""
    group = to.add_argument_group("input")
    group.add_argument(
        "--input",
        nargs="+",
        required=True,
        metavar="GLOB",
        help="Parquet files of pairs, folders or patterns, local or gs://; patterns in quotes",
    )
    group.add_argument("--sentence1_column", default="sentence1", help="first sentence")
    group.add_argument("--sentence2_column", default="sentence2", help="second sentence")
    if label is not None:
        group.add_argument("--label_column", default=label, help="label")
    add_shard_flags(group)


def add_shard_flags(group: argparse._ArgumentGroup) -> None:
    """Adds the flags that say how the input is cut and which of it is left out."""
    group.add_argument(
        "--max_sentence_chars",
        type=positive,
        default=DEFAULT_MAX_CHARS,
        help="a row with a longer sentence is rejected",
    )
    group.add_argument(
        "--shard_rows",
        type=positive,
        default=DEFAULT_SHARD_ROWS,
        help="rows of a shard, the unit of work and of output; row groups are not split",
    )
    group.add_argument(
        "--on_bad_file",
        choices=("fail", "reject"),
        default="fail",
        help="whether an unusable file stops the run before it starts, or is left out",
    )
    add_int96_flag(group)
    group.add_argument(
        "--partition_columns",
        type=partition_column,
        nargs="+",
        default=[],
        metavar="NAME[=TYPE]",
        help="write these columns of NAME=VALUE folders into the files, as text or "
        f"{', '.join(kind for kind in TYPES if kind != TEXT)}; otherwise the "
        "output keeps the folders",
    )


def add_reject_limit(group: argparse._ArgumentGroup) -> None:
    """Adds the flag that says how many rejected rows a run may commit with."""
    group.add_argument(
        "--max_reject_fraction",
        type=fraction,
        default=DEFAULT_REJECT_FRACTION,
        help="with more rejected rows than this the run fails and does not commit",
    )


def add_bundle_flags(group: argparse._ArgumentGroup) -> None:
    """Adds the flags that say which bundle is used, and where what it makes goes."""
    group.add_argument("--model", required=True, metavar="BUNDLE", help="folder of the bundle")
    group.add_argument(
        "--model_sha256", metavar="HEX", help="the fingerprint that the bundle must have"
    )
    group.add_argument("--output", required=True, metavar="DIR", help="folder to write to")


def add_embedding_store(group: argparse._ArgumentGroup) -> None:
    """Adds the flag of the vectors that are kept from run to run."""
    group.add_argument(
        "--embedding_store",
        metavar="DIR",
        help="folder that keeps vectors from run to run, so that a nightly run "
        "encodes only new sentences",
    )


def add_compression(group: argparse._ArgumentGroup) -> None:
    """Adds the flag of the codec of what is written."""
    group.add_argument(
        "--compression",
        choices=("zstd", "snappy", "gzip", "lz4", "none"),
        default="zstd",
        help="compression codec of the Parquet output",
    )


def add_int96_flag(group: argparse._ArgumentGroup) -> None:
    """Adds the flag that says how INT96 times, a deprecated type, are written."""
    group.add_argument(
        "--int96",
        choices=("us", "ns"),
        default="us",
        help="unit in which INT96 times are written: microseconds, or nanoseconds "
        "(1677 to 2262 only, and not read by Spark); a time that the unit "
        "cannot represent stops the run",
    )


def partition_column(text: str) -> tuple[str, str]:
    """A flag's NAME or NAME=TYPE of a column in folders' names."""
    name, _, kind = text.partition("=")
    if not name or (kind or TEXT) not in TYPES:
        raise argparse.ArgumentTypeError(
            f"expected NAME or NAME=TYPE with a type of {', '.join(TYPES)}, received {text!r}"
        )
    return name, kind or TEXT


def columns(args: argparse.Namespace) -> PairColumns:
    """The columns that the input flags name."""
    return PairColumns(
        args.sentence1_column, args.sentence2_column, getattr(args, "label_column", None)
    )


def positive(text: str) -> int:
    """A flag's whole number above zero."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, received {text}")
    return number


def count(text: str) -> int:
    """A flag's whole number, 0 or more."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"expected 0 or a whole number above, received {text}")
    return number


def finite(text: str) -> float:
    """A flag's number: nan and infinity are none."""
    number = float(text)
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"expected a number, received {text}")
    return number


def not_negative(text: str) -> float:
    """A flag's number, 0 or more."""
    number = finite(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"expected 0 or a number above, received {text}")
    return number


def fraction(text: str) -> float:
    """A flag's number from 0 to 1."""
    number = float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, received {text}")
    return number
