"""What the README and the docs say of commands, flags, targets and files is so."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from twinbeam.commands import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"^\$ twinbeam (.+)$", README, re.M)


def test_the_readme_shows_the_way_from_text_to_a_report():
    steps = [line.split()[0] for line in SHOWN]

    assert {"convert", "train", "score", "preprocess", "evaluate", "inspect"} <= set(steps)


@pytest.mark.parametrize("line", SHOWN)
def test_every_command_is_one_that_the_program_takes(line: str):
    name, *words = shlex.split(line, comments=True)
    parser = COMMANDS[name].parser()
    flags = {flag for action in parser._actions for flag in action.option_strings}

    assert {word for word in words if word.startswith("--")} <= flags


def test_every_named_command_is_there():
    named = set(re.findall(r"`twinbeam ([a-z]+)`", README))

    assert named and named <= COMMANDS.keys()


def test_every_target_is_there():
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.M))
    named = re.findall(r"^\$ make ([a-z -]+?)(?: +#.*)?$|`make ([a-z-]+)", README, re.M)

    assert {target for words in named for target in " ".join(words).split()} <= targets


def test_every_linked_file_and_folder_is_there():
    for document in ROOT.glob("*.md"):
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text(encoding="utf-8")):
            assert "://" in link or (ROOT / link).exists(), f"{document.name}: {link}"
