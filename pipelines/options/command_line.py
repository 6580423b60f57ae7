"""What the command lines share: flags, Beam's options, and how an error reaches a person."""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Sequence

from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from transforms.errors import RunError, UserError
from transforms.input.shards import RejectedFile
from transforms.pairs import PairColumns

LOCAL_RUNNER = "FnApiRunner"
DEFAULT_MAX_CHARS = 10_000
DEFAULT_SHARD_ROWS = 131_072
TRACEBACK = "TWINBEAM_TRACEBACK"
_WORKER_GONE = "Channel closed prematurely"
_IN_WORKER = re.compile(r"\[while running |Traceback \(most recent call last\)")
_KIND = re.compile(r"^(?:\w+\.)*(\w+(?:Error|Exception|Interrupt|Exit))\b", re.M)
_WORKER_ERROR = re.compile(
    r"(?:errors\.)?(UserError|RunError): (.+?)(?: \[while running .*)?$", re.M
)


def parser(module: str, description: str, example: str) -> argparse.ArgumentParser:
    """An argument parser whose help shows every default and an example to copy."""
    return argparse.ArgumentParser(
        prog=f"python -m pipelines.{module}",
        description=description,
        epilog=f"Example:\n  {example}\n\nFlags that are not listed go to Beam as they are: "
        "--runner, --project, --region, --temp_location, --direct_num_workers, …",
        formatter_class=_HelpFormatter,
        allow_abbrev=False,
    )


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows defaults where there are any, and leaves the example's line breaks alone."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        silent = action.default is None or action.default is False or action.default == []
        return action.help if silent else super()._get_help_string(action)


def add_input_flags(to: argparse.ArgumentParser, *, label: str | None) -> None:
    """Adds the flags that say which rows and columns are read."""
    group = to.add_argument_group("input")
    group.add_argument(
        "--input",
        nargs="+",
        action="extend",
        required=True,
        metavar="GLOB",
        help="Parquet files of pairs, local or gs://; patterns in quotes",
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
        help="rows of a shard, the unit of work and of output; whole row groups are taken",
    )
    group.add_argument(
        "--on_bad_file",
        choices=("fail", "reject"),
        default="fail",
        help="whether a file that cannot be used stops the run before it starts, or is left out",
    )
    add_int96_flag(group)


def add_int96_flag(group: argparse._ArgumentGroup) -> None:
    """Adds the flag that says how times of a kind that is no longer written are written."""
    group.add_argument(
        "--int96",
        choices=("us", "ns"),
        default="us",
        help="how times that are INT96 are written: as microseconds, or as nanoseconds (1677 to "
        "2262, and Spark does not read them); a time that cannot be kept stops the run",
    )


def columns(args: argparse.Namespace) -> PairColumns:
    """The columns that the input flags name."""
    return PairColumns(
        args.sentence1_column, args.sentence2_column, getattr(args, "label_column", None)
    )


def print_left_out(rejected: Sequence[RejectedFile]) -> None:
    """Says which files are left out, and why."""
    for file in rejected:
        print(f"left out: {file.reason}", flush=True)


def print_rewritten(columns: Sequence[str]) -> None:
    """Says which columns cannot be written as the kind they are, before there is any work."""
    if columns:
        print(
            f"note: {', '.join(columns)}: written without this kind, which Arrow does not know; "
            "the values stay as they are (docs/columns.md)",
            flush=True,
        )


def positive(text: str) -> int:
    """A flag's whole number above zero."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, received {text}")
    return number


def fraction(text: str) -> float:
    """A flag's number from 0 to 1."""
    number = float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, received {text}")
    return number


def beam_options(flags: Sequence[str]) -> PipelineOptions:
    """Beam's options from the flags that are not ours.

    The local runner is Beam's in-process FnApiRunner, whatever name it is asked by: Beam's own
    default would download another one, and results could differ between machines.

    Raises:
        UserError: a flag that neither we nor Beam know.
    """
    unknown = _unknown(flags)
    if unknown:
        raise UserError(f"unknown flag {unknown[0]!r}; --help lists ours, the rest must be Beam's")
    options = PipelineOptions(list(flags))
    standard = options.view_as(StandardOptions)
    if standard.runner in (None, "DirectRunner", "BundleBasedDirectRunner", "PrismRunner"):
        standard.runner = LOCAL_RUNNER
    return options


def _unknown(flags: Sequence[str]) -> list[str]:
    known = argparse.ArgumentParser(add_help=False, allow_abbrev=False, conflict_handler="resolve")
    for kind in _subclasses(PipelineOptions):
        if "_add_argparse_args" in vars(kind):
            vars(kind)["_add_argparse_args"].__func__(kind, known)
    _, rest = known.parse_known_args(list(flags))
    return rest


def _subclasses(kind: type) -> list[type]:
    direct: list[type] = kind.__subclasses__()
    return direct + [deeper for each in direct for deeper in _subclasses(each)]


def run_main(run: Callable[[], object]) -> int:
    """Runs a command and turns its errors into one line and an exit code.

    The runner's own logs of a failure are left out: they tell it once more, with tracebacks that
    may quote rows. TWINBEAM_TRACEBACK=1 brings them back.

    Returns:
        0 done, 2 wrong use or unusable input, 1 failed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's own notes help nobody here
    verbose = bool(os.environ.get(TRACEBACK))
    if not verbose:
        _quiet_runner()
    try:
        run()
        return 0
    except UserError as error:
        return _print_error(error, 2)
    except RunError as error:
        return _print_error(error, 1)
    except KeyboardInterrupt:
        return _print_error("stopped; run the same command again to go on", 1)
    except Exception as error:
        reported = _WORKER_ERROR.findall(
            str(error)
        )  # a worker's error reaches us as the text of another one
        if reported:
            kind, line = reported[-1]
            return _print_error(line, 2 if kind == "UserError" else 1)
        if verbose:
            raise
        return _print_error(f"{_unforeseen(error)}; {TRACEBACK}=1 shows more", 1)


def _quiet_runner() -> None:
    for name in ("common", "worker", "portability"):
        logging.getLogger(f"apache_beam.runners.{name}").setLevel(logging.CRITICAL)
    threading.excepthook = lambda _: None


def _unforeseen(error: Exception) -> str:
    kind, text = type(error).__name__, str(error)
    if _WORKER_GONE in text:
        return "a worker process ended before its work (killed, or out of memory?); run again"
    if _IN_WORKER.search(text):  # what a library says in a worker may quote a row
        return f"a worker failed with {(_KIND.findall(text) or [kind])[-1]}"
    return f"{kind}: {text.strip().partition(chr(10))[0]}"


def _print_error(error: object, code: int) -> int:
    line = " ".join(str(error).split()).split(" [while running ")[0]
    print(f"twinbeam: {line}", file=sys.stderr)
    return code
