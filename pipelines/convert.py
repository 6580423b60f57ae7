"""Turns pairs in CSV, TSV or JSON Lines into the Parquet that the other commands read.

python -m pipelines.convert --input pairs.tsv --output pairs.parquet --no_header \
--sentence1_column 1 --sentence2_column 2 --label_column 3 --label_map same=1 other=0
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.options import command_line
from transforms.accounts.shard_writer import ShardWriter
from transforms.errors import RunError, UserError
from transforms.input.input_files import find
from transforms.input.text_tables import BadLine, TextTable, map_values, read_text_table
from transforms.storage import files

REJECTS = ".rejects.jsonl"
EXAMPLE = "python -m pipelines.convert --input pairs.tsv --output pairs.parquet"


@dataclass(frozen=True)
class ConvertRun:
    """All that a conversion was asked for; a column is a name, or a number from 1."""

    inputs: tuple[str, ...]
    output: str
    sentence1: str = "sentence1"
    sentence2: str = "sentence2"
    label: str | None = "label"
    label_map: dict[str, str] = field(default_factory=dict)
    table: TextTable = field(default_factory=TextTable)
    max_reject_fraction: float = 0.05
    overwrite: bool = False


def run(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Converts, and returns the counts."""
    return convert(parse(sys.argv[1:] if argv is None else argv))


def convert(options: ConvertRun) -> dict[str, Any]:
    """Text files → one Parquet file, and the bad lines beside it.

    Raises:
        UserError: an input, a column or the output cannot be used.
        RunError: too many lines are bad; nothing was written but they.
    """
    found = find(options.inputs)
    rejects = options.output + REJECTS
    if files.exists(options.output) and not options.overwrite:
        raise UserError(f"{options.output} is there already; give another, or --overwrite")
    files.delete([rejects])
    bad: list[BadLine] = []
    folder, _, name = options.output.rpartition("/")
    writer: ShardWriter | None = None
    try:
        for file in found:
            for batch in read_text_table(file.path, options.table, bad.append):
                pairs = as_pairs(batch, options, file.path, bad)
                if writer is None:
                    writer = ShardWriter(folder or ".", name, pairs.schema, file.path, "zstd")
                elif pairs.schema != writer.schema:
                    raise UserError(f"{file.path} has other columns than the file before it")
                writer.write(pairs)
        rows = writer.rows if writer else 0
        keep_bad(rejects, bad)
        if not rows or len(bad) > options.max_reject_fraction * (rows + len(bad)):
            raise RunError(
                f"{len(bad)} of {rows + len(bad)} lines are bad"
                + (f" ({bad[0].reason})" if bad else "")
                + f"; see {rejects}, mend the flags or raise --max_reject_fraction"
            )
        assert writer is not None
        writer.finish()
    finally:
        if writer is not None:
            writer.__exit__(None, None, None)
            if files.is_local(folder):
                with suppress(OSError):  # another conversion may be at work there
                    Path(folder or ".", files.TEMPORARY_FOLDER).rmdir()
    note = f", {len(bad):,} bad lines in {rejects}" if bad else ""
    print(f"{rows:,} pairs in {options.output}{note}")
    return {"rows": rows, "rejected": len(bad)}


def as_pairs(
    batch: pa.RecordBatch, options: ConvertRun, source: str, bad: list[BadLine]
) -> pa.RecordBatch:
    """Text columns → sentence1, sentence2, label, and the other columns under their names."""
    chosen = {"sentence1": find_column(batch, options.sentence1, "--sentence1_column", source)}
    chosen["sentence2"] = find_column(batch, options.sentence2, "--sentence2_column", source)
    if options.label is not None:
        chosen["label"] = find_column(batch, options.label, "--label_column", source)
    others = [name for name in batch.schema.names if name not in chosen.values()]
    for name in others:
        if name in chosen:
            raise UserError(
                f"{source} has a column {name!r} besides the one that is to be called so; rename it"
            )
    columns = {name: batch.column(place) for name, place in chosen.items()}
    columns |= {name: batch.column(name) for name in others}
    if "label" in columns and options.label_map:
        mapped = map_values(columns["label"], options.label_map)
        unknown = pc.is_null(mapped).to_numpy(zero_copy_only=False)
        for place in np.flatnonzero(unknown).tolist():
            text = "\t".join(str(column[place].as_py()) for column in columns.values())
            label = columns["label"][place].as_py()
            bad.append(BadLine(source, None, f"label {label!r} is not in --label_map", text))
        columns["label"] = _whole_numbers(mapped, options.label_map)
        return pa.RecordBatch.from_pydict(columns).filter(pa.array(~unknown))
    return pa.RecordBatch.from_pydict(columns)


def _whole_numbers(column: pa.Array, mapping: dict[str, str]) -> pa.Array:
    whole = all(value.removeprefix("-").isdecimal() for value in mapping.values())
    return column.cast(pa.int64()) if whole else column


def find_column(batch: pa.RecordBatch, wanted: str, flag: str, source: str) -> str:
    """The name of a column given by name, or by its number from 1.

    Raises:
        UserError: there is none.
    """
    names = batch.schema.names
    if wanted in names:
        return wanted
    if wanted.isdecimal() and 1 <= int(wanted) <= len(names):
        return names[int(wanted) - 1]
    raise UserError(
        f"{source}: no column {wanted!r}; it has {', '.join(map(repr, names[:12]))}; "
        f"give {flag} a name, or a number from 1 to {len(names)}"
    )


def keep_bad(path: str, bad: Sequence[BadLine]) -> None:
    """Writes bad lines beside the output, one JSON object each."""
    if bad:
        lines = (json.dumps(asdict(line), ensure_ascii=False) + "\n" for line in bad)
        files.write_bytes(path, "".join(lines).encode())


def parse(argv: Sequence[str]) -> ConvertRun:
    """Flags → what was asked for.

    Raises:
        UserError: --label_map cannot be read.
    """
    parser = command_line.parser("convert", (__doc__ or "").splitlines()[0], EXAMPLE)
    parser.epilog = f"Example:\n  {EXAMPLE}"
    add_flags(parser)
    args = parser.parse_args(argv)
    pairs = [entry.rpartition("=") for entry in args.label_map]
    if not all(key and separator for key, separator, _ in pairs):
        raise UserError("--label_map: expected FROM=TO, as in same=1 other=0")
    return ConvertRun(
        inputs=tuple(args.input),
        output=args.output,
        sentence1=args.sentence1_column,
        sentence2=args.sentence2_column,
        label=None if args.no_label else args.label_column,
        label_map={key: value for key, _, value in pairs},
        table=TextTable(args.format, args.delimiter, not args.no_header, not args.no_quotes),
        max_reject_fraction=args.max_reject_fraction,
        overwrite=args.overwrite,
    )


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of conversion."""
    parser.add_argument("--input", nargs="+", action="extend", required=True, metavar="GLOB")
    parser.add_argument("--output", required=True, metavar="FILE", help="the Parquet file to write")
    parser.add_argument(
        "--format", choices=("csv", "tsv", "jsonl"), help="(default: by its ending)"
    )
    parser.add_argument("--delimiter", help="between columns (default: comma or tab)")
    parser.add_argument("--no_header", action="store_true", help="the first line is data")
    parser.add_argument("--no_quotes", action="store_true", help='" is a character like others')
    for name in ("sentence1", "sentence2", "label"):
        parser.add_argument(f"--{name}_column", default=name, help="name, or number from 1")
    parser.add_argument("--no_label", action="store_true", help="there is no label")
    parser.add_argument(
        "--label_map", nargs="+", default=[], metavar="FROM=TO", help="as in same=1 other=0"
    )
    parser.add_argument("--max_reject_fraction", type=command_line.fraction, default=0.05)
    parser.add_argument("--overwrite", action="store_true", help="replace --output")


def main() -> int:
    """The command line."""
    return command_line.run_main(run)


if __name__ == "__main__":
    raise SystemExit(main())
