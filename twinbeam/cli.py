"""The console command: `twinbeam NAME --flags`, each NAME a module of `pipelines`."""

from __future__ import annotations

import argparse
import difflib
import os
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby

from pipelines.running.phases import phase
from twinbeam.commands import COMMANDS

SHELLS = ("bash", "zsh", "tcsh")
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit code: 0 done, 2 wrong use, 1 failed, 130 interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _run(words)
    except KeyboardInterrupt:  # before the command had begun
        print("twinbeam: stopped", file=sys.stderr)
        code = INTERRUPTED
    if code == INTERRUPTED and argv is None:
        # What was begun is undone; a runner's threads would hold the process, and say so at length.
        sys.stdout.flush()
        os._exit(code)
    if argv is None:  # the command has ended: Ctrl-C while Python shuts down changes nothing
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    return code


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help") or words == ["help"]:
        print(overview())
        return 0 if words else 2
    name, *rest = words if words[0] != "help" else (words[1], "--help")
    if name in ("-V", "--version"):
        print(f"twinbeam {_version()}")
        return 0
    if name == "completion":
        return _complete(rest)
    command = COMMANDS.get(name)
    if command is None:
        print(f"twinbeam: no command {name!r}{_hint(name)}; see twinbeam --help", file=sys.stderr)
        return 2
    if {"-h", "--help"} & {*rest}:
        print(command.parser().format_help(), end="")
        return 0
    sys.argv = [f"twinbeam {name}", *rest]
    with phase(f"starting {name}"):
        run = command.load()
    return run()


def overview() -> str:
    """All commands in their groups, with a line each."""
    lines = ["Scores sentence pairs at any scale.", "", "twinbeam COMMAND [flags]"]
    for group, commands in groupby(COMMANDS.items(), lambda item: item[1].group):
        lines += ["", f"{group}:"]
        lines += [f"  {name:12} {command.summary}" for name, command in commands]
    lines += [
        "",
        "twinbeam COMMAND --help lists a command's flags. twinbeam completion SHELL prints a",
        f"script that completes them, for {', '.join(SHELLS)}. twinbeam --version",
    ]
    return "\n".join(lines)


def parser_of_all_commands() -> argparse.ArgumentParser:
    """A parser of every command with its flags, for what lists them all."""
    parser = argparse.ArgumentParser(prog="twinbeam", add_help=False)
    commands = parser.add_subparsers()
    for name, command in COMMANDS.items():
        flags = commands.add_parser(name, help=command.summary, add_help=False)
        for action in command.parser()._actions:
            flags._add_action(action)
    return parser


def _complete(words: Sequence[str]) -> int:
    if list(words) not in ([shell] for shell in SHELLS):
        print(f"twinbeam: completion takes one of {', '.join(SHELLS)}", file=sys.stderr)
        return 2
    import shtab

    print(shtab.complete(parser_of_all_commands(), words[0]))
    return 0


def _hint(name: str) -> str:
    found = difflib.get_close_matches(name, COMMANDS, n=1)
    return f", did you mean {found[0]}?" if found else ""


def _version() -> str:
    try:
        return version("twinbeam")
    except PackageNotFoundError:
        return "(a checkout)"
