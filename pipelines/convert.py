"""Turns pairs in CSV, TSV or JSON into the Parquet that the other commands read.

twinbeam convert --input pairs.tsv --output pairs.parquet --no_header \
--sentence1_column 1 --sentence2_column 2 --label_column 3 --label_map same=1 other=0
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from pipelines.options import command_line, shared_flags
from pipelines.options.parser import CommandParser
from pipelines.running import same_run
from transforms.errors import RunError, UserError
from transforms.input.footers import TEXT_ENDINGS
from transforms.input.input_files import find
from transforms.storage import files
from transforms.tables.accounts import Account
from transforms.tables.encodings import known_encoding
from transforms.tables.messages import format_bad, format_doubts, suspect_lines, why_not
from transforms.tables.options import TextTable, typed_delimiter
from transforms.tables.pair_columns import PairColumnFinder, PairNames
from transforms.tables.pair_file import GrowingParquet, Rejects, read_about
from transforms.tables.reading import read_text_table

REJECTS = ".rejects.jsonl"
COUNTS = "counts"
SUSPECT = "suspect_lines"
EXAMPLE = "twinbeam convert --input pairs.tsv --output pairs.parquet"


@dataclass(frozen=True)
class ConvertOptions:
    """The options of a conversion.

    Attributes:
        inputs: patterns of text files.
        output: the Parquet file to write.
        names: the columns that are sentences and label.
        table: how the files hold a table.
        max_reject_fraction: of the lines; with more bad ones nothing but these is written.
        max_suspect_fraction: of the lines; with more in rows that look wrong nothing is written.
        overwrite: whether an output that is there is replaced.
    """

    inputs: tuple[str, ...]
    output: str
    names: PairNames = field(default_factory=PairNames)
    table: TextTable = field(default_factory=TextTable)
    max_reject_fraction: float = shared_flags.DEFAULT_REJECT_FRACTION
    max_suspect_fraction: float = shared_flags.DEFAULT_REJECT_FRACTION
    overwrite: bool = False

    def decisive(self) -> dict[str, Any]:
        """The options that decide what is written, by the names of their flags."""
        return {
            "sentence1_column": self.names.sentence1,
            "sentence2_column": self.names.sentence2,
            "label_column": self.names.label,
            "label_map": [f"{key}={value}" for key, value in self.names.label_map.items()],
            **asdict(self.table),
        }


def run(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Converts, and returns the counts."""
    return convert(parse(sys.argv[1:] if argv is None else argv))


def convert(options: ConvertOptions) -> dict[str, Any]:
    """Text files → one Parquet file, and the bad lines beside it.

    Returns:
        `rows` written, lines `rejected`, and `suspect` lines that were kept.

    Raises:
        UserError: an input, a column or the output cannot be used.
        RunError: too many lines are bad or suspect; nothing was written but the bad ones.
    """
    if options.output.lower().endswith(TEXT_ENDINGS):
        raise UserError(
            f"--output {options.output}: the output is Parquet; expected a name such as "
            "pairs.parquet"
        )
    target = files.output_file(options.output)
    found = find(options.inputs)
    made_from = same_run.made_from(
        options.decisive(), {file.name: files.sha256_of(file.path) for file in found}
    )
    before = read_about(options.output) if files.exists(options.output) else {}
    done = before.get(same_run.MADE_FROM)
    if same_run.is_done(options.output, done, made_from, overwrite=options.overwrite):
        judge_rejects_again(before, options)
        return dict(before[COUNTS])
    if files.exists(options.output) and not options.overwrite:
        raise UserError(f"{options.output} exists already; give another, or --overwrite")
    rejects = Rejects(options.output + REJECTS)
    accounts = [Account(file.path, rejects.add) for file in found]
    with closing(rejects), GrowingParquet(target) as output:
        for account in accounts:
            for pairs in read_pairs(account, options, output.schema.names):
                output.write(pairs)
        problem = why_not(
            accounts, rejects, options.max_reject_fraction, options.max_suspect_fraction
        )
        counts = {
            "rows": output.rows,
            "rejected": rejects.lines,
            "suspect": sum(doubt.lines for each in accounts for doubt in each.doubts.values()),
        }
        if problem is None:
            about = {same_run.MADE_FROM: made_from, COUNTS: counts}
            output.finish(about | {SUSPECT: suspect_lines(accounts)})
        rejects.finish()
        if problem is not None:
            raise problem
    print(f"{output.rows:,} pairs in {options.output}{format_bad(rejects)}")
    for line in format_doubts(accounts):
        print(line)
    return counts


def judge_rejects_again(about: Mapping[str, Any], options: ConvertOptions) -> None:
    """Meets a complete file again: the limits may be stricter than when it was written.

    Raises:
        RunError: it exceeds them.
    """
    bad, lines = about[COUNTS]["rejected"], about[COUNTS]["rows"] + about[COUNTS]["rejected"]
    for flag, found, limit in (
        ("--max_reject_fraction", bad, options.max_reject_fraction),
        ("--max_suspect_fraction", about.get(SUSPECT, 0), options.max_suspect_fraction),
    ):
        if found > limit * lines:
            raise RunError(
                f"{options.output} is complete, but {found:,} of its {lines:,} lines are more than "
                f"{flag} {limit:g} allows; fix the input, or raise the fraction"
            )


def read_pairs(
    account: Account, options: ConvertOptions, known: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """One file → its pairs: sentence1, sentence2, label, and the other columns by their names."""
    finder = PairColumnFinder(options.names, account, known)
    for rows in read_text_table(account.source, options.table, account):
        yield finder.pairs(rows)
    finder.check()


def flags() -> argparse.ArgumentParser:
    """All flags of conversion."""
    parser = CommandParser("convert", (__doc__ or "").splitlines()[0], EXAMPLE)
    add_flags(parser)
    return parser


def parse(argv: Sequence[str]) -> ConvertOptions:
    """Flags → options.

    Raises:
        UserError: a flag's value cannot be read.
    """
    args = flags().parse_args(argv)
    pairs = [entry.rpartition("=") for entry in args.label_map]
    if not all(key and separator for key, separator, _ in pairs):
        raise UserError("--label_map: expected FROM=TO, as in same=1 other=0")
    return ConvertOptions(
        inputs=tuple(args.input),
        output=args.output,
        names=PairNames(
            args.sentence1_column,
            args.sentence2_column,
            None if args.no_label else args.label_column,
            {key: value for key, _, value in pairs},
        ),
        table=text_table(args),
        max_reject_fraction=args.max_reject_fraction,
        max_suspect_fraction=args.max_suspect_fraction,
        overwrite=args.overwrite,
    )


def text_table(args: argparse.Namespace) -> TextTable:
    """How the files hold a table, as the flags say."""
    delimiter = None if args.delimiter is None else typed_delimiter(args.delimiter)
    encoding = None if args.encoding is None else known_encoding(args.encoding)
    return TextTable(args.format, delimiter, not args.no_header, args.quotes, args.escape, encoding)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of conversion."""
    parser.add_argument("--input", nargs="+", required=True, metavar="GLOB", help="text files")
    parser.add_argument("--output", required=True, metavar="FILE", help="the Parquet file to write")
    text = parser.add_argument_group("text")
    text.add_argument(
        "--format",
        choices=("csv", "tsv", "jsonl"),
        help="format of the files (default: by their endings)",
    )
    text.add_argument(
        "--delimiter",
        metavar="TEXT",
        help="separator of columns, such as ';', '\\t' or ' ||| ' (default: comma or tab)",
    )
    text.add_argument("--no_header", action="store_true", help="the first line is data")
    quotes = text.add_mutually_exclusive_group()
    quotes.add_argument(
        "--quotes",
        action="store_true",
        default=None,
        help='"…" encloses values with delimiters or line breaks (default: unless tabs separate)',
    )
    quotes.add_argument(
        "--no_quotes", action="store_false", dest="quotes", default=None,
        help='" is an ordinary character',
    )  # fmt: skip
    text.add_argument(
        "--escape",
        metavar="CHARACTER",
        help="the character before a quote inside quotes: '\\' for Spark's CSV",
    )
    text.add_argument(
        "--encoding", help="encoding, such as gb18030 (default: by the byte order mark, else utf-8)"
    )
    columns = parser.add_argument_group("columns", "a name, or a number from 1")
    for name, what in (
        ("sentence1", "first sentence"),
        ("sentence2", "second sentence"),
        ("label", "label"),
    ):
        columns.add_argument(f"--{name}_column", default=name, help=what)
    columns.add_argument("--no_label", action="store_true", help="the files have no label")
    columns.add_argument(
        "--label_map", nargs="+", default=[], metavar="FROM=TO", help="such as same=1 other=0"
    )
    limits = parser.add_argument_group("limits")
    limits.add_argument(
        "--max_reject_fraction",
        type=shared_flags.fraction,
        default=shared_flags.DEFAULT_REJECT_FRACTION,
        help="with more bad lines than this nothing is written",
    )
    limits.add_argument(
        "--max_suspect_fraction", type=shared_flags.fraction,
        default=shared_flags.DEFAULT_REJECT_FRACTION,
        help="or with more lines in values that look like the effect of a stray quote",
    )  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="replace --output")


def main() -> int:
    """The command line."""
    return command_line.run_main(run)


if __name__ == "__main__":
    raise SystemExit(main())
