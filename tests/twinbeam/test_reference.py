from __future__ import annotations

import argparse
from contextlib import suppress
from pathlib import Path

from twinbeam.commands import COMMANDS
from twinbeam.reference import reference

PAGE = Path(__file__).resolve().parents[2] / "docs/flags.md"


def test_the_page_is_what_the_code_says():
    assert PAGE.read_text(encoding="utf-8") == reference(), "run: make flags"


def test_every_flag_has_a_row_with_something_in_it():
    page = reference()
    for name, command in COMMANDS.items():
        part = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        for action in command.parser()._actions:
            for flag in action.option_strings:
                assert f"`{flag}`" in part or action.dest == "help", (name, flag)
        assert "|  |" not in part.replace("|  |\n", ""), f"{name}: a flag without help"


def test_no_flag_takes_what_is_no_number():
    """Every comparison with nan is false, so a limit of nan limits nothing."""
    taken = []
    for name, command in COMMANDS.items():
        for action in command.parser()._actions:
            for text in ("nan", "inf", "-inf"):
                with suppress(argparse.ArgumentTypeError, ValueError, TypeError, OverflowError):
                    if isinstance((action.type or str)(text), float):
                        taken.append((name, action.option_strings, text))
    assert not taken
