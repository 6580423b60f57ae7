"""What preprocessing and scoring are asked for alike: pairs in, a folder out, on any runner."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pipelines.dataflow import estimate
from pipelines.dataflow import flags as dataflow
from pipelines.options import command_line
from transforms.input.parquet_columns import Int96Unit
from transforms.pairs import PairColumns


@dataclass(frozen=True, kw_only=True)
class PairOptions:
    """What a run over pairs is asked for, whatever it makes of them."""

    inputs: tuple[str, ...]
    output: str
    columns: PairColumns = field(default_factory=PairColumns)
    max_chars: int = command_line.DEFAULT_MAX_CHARS
    shard_rows: int = command_line.DEFAULT_SHARD_ROWS
    on_bad_file: Literal["fail", "reject"] = "fail"
    int96: Int96Unit = "us"
    partition_columns: Mapping[str, str] = field(default_factory=dict)
    max_reject_fraction: float = command_line.DEFAULT_REJECT_FRACTION
    overwrite: bool = False
    accelerator: str | None = None
    estimating: estimate.EstimateOptions = field(default_factory=estimate.EstimateOptions)
    beam_flags: tuple[str, ...] = ()


def flags_around(
    add_flags: Callable[[argparse.ArgumentParser], None],
    *,
    module: str,
    description: str,
    example: str,
    label: str | None,
) -> argparse.ArgumentParser:
    """A command's parser: the input's flags, its own, Dataflow's and an estimate's."""
    parser = command_line.parser(module, description, example, takes_beam_flags=True)
    command_line.add_input_flags(parser, label=label)
    add_flags(parser)
    dataflow.add_flags(parser)
    estimate.add_flags(parser)
    return parser


def common_fields(args: argparse.Namespace, beam_flags: Sequence[str]) -> dict[str, Any]:
    """The fields of a `PairOptions` from its flags, but the columns."""
    return {
        "inputs": tuple(args.input),
        "output": args.output.rstrip("/"),
        "max_chars": args.max_sentence_chars,
        "shard_rows": args.shard_rows,
        "on_bad_file": args.on_bad_file,
        "int96": args.int96,
        "partition_columns": dict(args.partition_columns),
        "max_reject_fraction": args.max_reject_fraction,
        "overwrite": args.overwrite,
        "accelerator": args.accelerator,
        "estimating": estimate.EstimateOptions.from_flags(args),
        "beam_flags": tuple(beam_flags),
    }
