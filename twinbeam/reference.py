"""Writes docs/flags.md, the reference of all flags, from the parsers of the commands.

python -m twinbeam.reference > docs/flags.md
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from twinbeam.commands import COMMANDS

HEAD = """# Flags

Made from the code by `make flags`. Flags that a command does not list go to Beam where it runs
on Beam (`--runner`, `--project`, `--region`, …). A flag is never shortened.
"""


def reference() -> str:
    """The page."""
    parts = [HEAD]
    for name, command in COMMANDS.items():
        parser = command.parser()
        description = " ".join((parser.description or "").split())
        parts.append(f"\n## {name}\n\n{description}\n")
        rows = list(_rows(parser))
        if rows:
            parts.append("\n| flag | what it says | default |\n| --- | --- | --- |\n")
            parts += [f"| {flag} | {text} | {default} |\n" for flag, text, default in rows]
    return "".join(parts)


def _rows(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str, str]]:
    """Required flags first, as in the help."""
    actions = [action for action in parser._actions if action.dest != "help"]
    for action in sorted(actions, key=lambda action: not action.required):
        name = ", ".join(f"`{flag}`" for flag in action.option_strings) or f"`{action.dest}`"
        choices = ", ".join(f"`{one}`" for one in action.choices or ())
        text = "; ".join(filter(None, [action.help or "", choices]))
        silent = action.default in (None, False, argparse.SUPPRESS) or action.default == []
        default = "" if silent or action.required else f"`{_format(action.default)}`"
        yield name, text.replace("|", "\\|"), "**required**" if action.required else default


def _format(default: object) -> str:
    return ", ".join(map(str, default)) if isinstance(default, list) else str(default)


if __name__ == "__main__":
    print(reference(), end="")
