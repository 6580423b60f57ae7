"""What runs over tables of pairs or of sentences share: a folder out, on any runner."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pipelines.dataflow import estimate
from pipelines.dataflow import flags as dataflow
from pipelines.options import shared_flags
from transforms.input.parquet_columns import Int96Unit
from transforms.pairs import PairColumns


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What every run over tables takes, whatever it makes of them."""

    output: str
    max_chars: int = shared_flags.DEFAULT_MAX_CHARS
    shard_rows: int = shared_flags.DEFAULT_SHARD_ROWS
    on_bad_file: Literal["fail", "reject"] = "fail"
    int96: Int96Unit = "us"
    partition_columns: Mapping[str, str] = field(default_factory=dict)
    max_reject_fraction: float = shared_flags.DEFAULT_REJECT_FRACTION
    overwrite: bool = False
    accelerator: str | None = None
    estimating: estimate.EstimateOptions = field(default_factory=estimate.EstimateOptions)
    beam_flags: tuple[str, ...] = ()

    def read_as(self) -> dict[str, Any]:
        """The options that decide which rows are read, and as what; part of a run's identity."""
        return {
            "max_sentence_chars": self.max_chars,
            "shard_rows": self.shard_rows,
            "int96": self.int96,
            "partition_columns": dict(self.partition_columns),
        }


@dataclass(frozen=True, kw_only=True)
class PairOptions(RunOptions):
    """What a run over tables of pairs takes."""

    inputs: tuple[str, ...]
    columns: PairColumns = field(default_factory=PairColumns)


def add_pair_flags(
    parser: argparse.ArgumentParser,
    add_flags: Callable[[argparse.ArgumentParser], None],
    *,
    label: str | None,
) -> None:
    """Adds the input's flags, the command's own, Dataflow's and an estimate's."""
    shared_flags.add_input_flags(parser, label=label)
    add_flags(parser)
    dataflow.add_flags(parser)
    estimate.add_flags(parser)


def common_fields(args: argparse.Namespace, beam_flags: Sequence[str]) -> dict[str, Any]:
    """The fields of a `RunOptions` from its flags."""
    return {
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
