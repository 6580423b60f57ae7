"""What Beam does not offer: which flags it knows, and what went wrong in a worker.

Flags that are not ours go to Beam, and Beam ignores those that it does not know, so a slip in one
would run for hours with a default. Beam has no public list of its flags: each subclass of
`PipelineOptions` adds some to an argparse parser by a private method, and the union of those
parsers is the list. Nor does a runner hand on an error of a worker as an exception: it arrives as
the text of another one, with tracebacks that may quote rows, so our own errors are found in it by a
pattern, and of all others only the kind is shown. Both break when Beam changes; the tests beside
this file say so. That is also why our command line stays with argparse: click and typer leave
unknown flags unparsed and take one value a flag, so that the second of `--input a b` would go to
Beam; jsonargparse refuses unknown flags; tyro returns them, but cannot tell a slip from a flag of
Beam's.
"""

from __future__ import annotations

import argparse
import difflib
import logging
import re
import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from transforms.errors import UserError

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions

LOCAL_RUNNER = "FnApiRunner"
LIKE = 0.75  # of difflib's ratio: --treshold for --threshold, and no other word
_WORKER_GONE = "Channel closed prematurely"
_IN_WORKER = re.compile(r"\[while running |Traceback \(most recent call last\)")
_KIND = re.compile(r"^(?:\w+\.)*(\w+(?:Error|Exception|Interrupt|Exit))\b", re.M)
_WORKER_ERROR = re.compile(
    r"(?:errors\.)?(UserError|RunError): (.+?)(?: \[while running .*)?$", re.M
)


def beam_options(flags: Sequence[str]) -> PipelineOptions:
    """Beam's options from the flags that are not ours.

    The local runner is Beam's in-process FnApiRunner, also if another name of it is given:
    Beam's own default would download another one, and results could differ between machines.

    Raises:
        UserError: a flag that neither twinbeam nor Beam knows.
    """
    from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

    known = beam_parser()
    unknown = known.parse_known_args(list(flags))[1]
    if unknown:
        raise UserError(
            f"unknown flag {unknown[0]!r}{suggestion(unknown[0], flags_in(known))}; "
            "--help lists twinbeam's flags, all others must be Beam's"
        )
    options = PipelineOptions(list(flags))
    standard = options.view_as(StandardOptions)
    if standard.runner in (None, "DirectRunner", "BundleBasedDirectRunner", "PrismRunner"):
        standard.runner = LOCAL_RUNNER
    return options


def beam_parser() -> argparse.ArgumentParser:
    """A parser of all flags that Beam knows."""
    from apache_beam.options.pipeline_options import PipelineOptions

    known = argparse.ArgumentParser(add_help=False, allow_abbrev=False, conflict_handler="resolve")
    for kind in _subclasses(PipelineOptions):
        if "_add_argparse_args" in vars(kind):
            vars(kind)["_add_argparse_args"].__func__(kind, known)
    return known


def _subclasses(kind: type) -> list[type]:
    direct: list[type] = kind.__subclasses__()
    return direct + [deeper for each in direct for deeper in _subclasses(each)]


def flags_in(parser: argparse.ArgumentParser) -> list[str]:
    """Every flag of a parser."""
    return [flag for action in parser._actions for flag in action.option_strings]


def suggestion(flag: str, known: Iterable[str]) -> str:
    """`, did you mean --threshold?`; nothing where no flag is similar."""
    name = flag.partition("=")[0].replace("-", "_")
    by_name = {each.replace("-", "_"): each for each in known if each.startswith("--")}
    found = difflib.get_close_matches(name, by_name, n=1, cutoff=LIKE)
    return f", did you mean {by_name[found[0]]}?" if found else ""


def quiet_runner() -> None:
    """Turns off what a runner logs of a failure: it repeats the error, with tracebacks."""
    for name in ("common", "worker", "portability"):
        logging.getLogger(f"apache_beam.runners.{name}").setLevel(logging.CRITICAL)
    threading.excepthook = lambda _: None


def worker_error(error: Exception) -> tuple[str, int] | None:
    """Our own error that a worker raised, found in the text of the runner's, and its exit code."""
    reported = _WORKER_ERROR.findall(str(error))
    if not reported:
        return None
    kind, line = reported[-1]
    return line, 2 if kind == "UserError" else 1


def unforeseen(error: Exception) -> str:
    """An error of a library in one line, without what a worker may have quoted of a row."""
    kind, text = type(error).__name__, str(error)
    if _WORKER_GONE in text:
        return "a worker process ended before its work (killed, or out of memory?); run again"
    if _IN_WORKER.search(text):
        return f"a worker failed with {(_KIND.findall(text) or [kind])[-1]}"
    return f"{kind}: {text.strip().partition(chr(10))[0]}"
