"""The argument parser of every command: required flags first, defaults shown, slips caught."""

from __future__ import annotations

import argparse
import shutil
import sys
import textwrap
from typing import Any, NoReturn

from pipelines.options.beam_interface import beam_parser, flags_in, suggestion

REQUIRED = "required"
BEAM_NOTE = (
    "Flags that are not listed go to Beam as they are: --runner, --project, --region,\n"
    "--temp_location, --direct_num_workers, …"
)


class _Store(argparse.Action):
    """argparse's default, except for flags that take several values: given twice, both count."""

    def __call__(
        self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None
    ) -> None:
        before = getattr(namespace, self.dest, None)
        if self.nargs in ("+", "*") and before is not self.default:
            values = [*(before or ()), *values]
        setattr(namespace, self.dest, values)


class CommandParser(argparse.ArgumentParser):
    """Flags with underscores, none abbreviated; errors are one line that names the fix.

    Attributes:
        takes_beam_flags: whether flags that are not listed go to Beam.
    """

    def __init__(
        self, name: str, description: str, example: str, *, takes_beam_flags: bool = False
    ):
        """A command's parser; the example is shown in the help, to be copied."""
        note = f"\n\n{BEAM_NOTE}" if takes_beam_flags else ""
        super().__init__(
            prog=f"twinbeam {name}",
            description=textwrap.fill(description, _width()),
            epilog=f"Example:\n  {example}{note}",
            formatter_class=_HelpFormatter,
            allow_abbrev=False,
        )
        for kind in (None, "store"):
            self.register("action", kind, _Store)
        self.takes_beam_flags = takes_beam_flags
        self._positionals.title = "words"
        self._one_of: dict[str, list[argparse.Action]] = {}

    def need_one_of(self, usage: str, *actions: argparse.Action) -> None:
        """Shows flags among the required ones, where some of them do for the others.

        Args:
            usage: how, such as `(--input GLOB … | --left GLOB … --right GLOB …)`.
            actions: the flags.
        """
        self._one_of[usage] = list(actions)

    def format_help(self) -> str:
        """The help: required flags, then each group."""
        formatter = self._get_formatter()
        formatter.add_usage(self.usage or self._usage(), self._actions, [])
        formatter.add_text(self.description)
        given = [action for action in self._actions if _is_required(action)]
        given = [*(action for some in self._one_of.values() for action in some), *given]
        for title, about, actions in [(REQUIRED, None, given), *self._groups(given)]:
            formatter.start_section(title)
            formatter.add_text(about)
            formatter.add_arguments(actions)
            formatter.end_section()
        formatter.add_text(self.epilog)
        return formatter.format_help()

    def _groups(self, given: list[argparse.Action]) -> list[tuple[Any, Any, list[argparse.Action]]]:
        *first, own = sorted(self._action_groups, key=lambda group: group is self._optionals)
        groups = [*first, own]  # -h, and what is in no group, comes last
        return [
            (
                group.title,
                group.description,
                [one for one in group._group_actions if one not in given],
            )
            for group in groups
        ]

    def _usage(self) -> str:
        formatter = _HelpFormatter(self.prog)
        words = [*self._one_of]
        for action in self._actions:
            if _is_required(action) or not action.option_strings:
                shown = formatter._format_args(action, formatter._metavar(action))
                words.append(" ".join([*action.option_strings[-1:], shown]))
        return " ".join(["%(prog)s", *words, "[flags]"])

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does; a misspelt flag of ours is not one of Beam's."""
        words = sys.argv[1:] if args is None else list(args)
        if self.takes_beam_flags:
            self._refuse_slips(words)
        return super().parse_known_args(words, namespace)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does, for commands that have no flags of Beam."""
        words = sys.argv[1:] if args is None else list(args)
        self._refuse_slips(words)
        found, rest = self.parse_known_args(words, namespace)
        if rest:
            self._unknown(rest[0])
        return found

    def _refuse_slips(self, words: list[str]) -> None:
        """Before anything else: else a slip in a required flag would be called a missing flag."""
        ours = flags_in(self)
        flags = (word.partition("=")[0] for word in words if word.startswith("--"))
        slips = [flag for flag in flags if flag not in ours and suggestion(flag, ours)]
        for flag in slips:
            if not self.takes_beam_flags or beam_parser().parse_known_args([flag])[1]:
                self._unknown(flag)

    def _unknown(self, flag: str) -> NoReturn:
        hint = suggestion(flag, flags_in(self)) or f"; see {self.prog} --help"
        self.error(f"unknown flag {flag!r}{hint}")

    def error(self, message: str) -> NoReturn:
        """Ends the program with one line and exit code 2."""
        missing = message.partition("the following arguments are required: ")[2]
        if missing:
            message = f"{missing} missing; see {self.prog} --help"
        self.exit(2, f"twinbeam: {message}\n")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """Ends the program."""
        if message:
            print(message.rstrip("\n"), file=sys.stderr)
        raise SystemExit(status)


class Switch(argparse.BooleanOptionalAction):
    """`--redact` and `--no_redact`, spelled as every other flag is."""

    def __init__(self, option_strings: list[str], dest: str, **how: Any):
        """As argparse's, which spells `--no-redact`."""
        super().__init__(option_strings, dest, **how)
        self.option_strings = [flag.replace("--no-", "--no_") for flag in self.option_strings]

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        """Sets what the spelling says."""
        setattr(namespace, self.dest, not option_string.startswith("--no_"))


def _is_required(action: argparse.Action) -> bool:
    """Whether it has to be given; argparse says so of positional words that may be left out too."""
    return action.required and action.nargs not in (argparse.OPTIONAL, argparse.ZERO_OR_MORE)


def _width() -> int:
    return shutil.get_terminal_size().columns - 2


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Shows what kind of value a flag takes, and its default where there is one."""

    def __init__(self, prog: str, **how: Any):
        super().__init__(prog, max_help_position=32, **how)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        silent = action.default in (None, False, argparse.SUPPRESS) or action.default == []
        if silent or not action.option_strings:
            return action.help
        shown = "%(default)s"
        if isinstance(action.default, bool):
            shown = "yes"
        elif isinstance(action.default, list):
            shown = ", ".join(action.default)
        return f"{action.help or ''} (default: {shown})".strip()

    def _get_default_metavar_for_optional(self, action: argparse.Action) -> str:
        return self._metavar(action)

    def _metavar(self, action: argparse.Action) -> Any:
        if action.metavar is not None:
            return action.metavar
        if not action.option_strings:
            return action.dest.upper()
        if action.choices is not None:
            return "{" + ",".join(map(str, action.choices)) + "}"
        kind = getattr(action.type, "__name__", "str")
        return {"str": "NAME", "fraction": "0..1"}.get(kind, "N")

    def _format_args(self, action: argparse.Action, default_metavar: Any) -> str:
        shown: str = super()._format_args(action, default_metavar)
        if action.nargs == argparse.ONE_OR_MORE and isinstance(default_metavar, str):
            return f"{action.metavar or default_metavar} …"
        if action.nargs == argparse.ZERO_OR_MORE:
            return f"[{action.metavar or default_metavar}]"
        return shown
