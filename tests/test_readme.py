"""What the README says of flags, targets and files is so."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
FLAG = re.compile(r"--[a-z][a-z0-9_]+")
BEAM_FLAGS = {
    "--runner", "--project", "--region", "--temp_location", "--setup_file", "--direct_num_workers",
}  # fmt: skip


def told_flags(step: str) -> set[str]:
    """The flags in the README's table of a step."""
    part = README.split(f"\n#### {step}\n")[1].split("\n#")[0]
    return set(FLAG.findall(part))


def help_flags(step: str, capsys: pytest.CaptureFixture[str]) -> set[str]:
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"pipelines.{step}").run(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out.split("\nExample:")[0]
    return set(FLAG.findall(shown)) - {"--help"}


@pytest.mark.parametrize("step", ["preprocess", "train", "score", "find", "cluster", "evaluate"])
def test_every_flag_is_reported_and_every_told_flag_is_there(
    step: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", "200")
    there = help_flags(step, capsys)
    told = told_flags(step)

    assert told - BEAM_FLAGS <= there, "the README tells of flags that are not there"
    assert there <= told, "the README does not tell of all flags"


def test_every_target_is_there():
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.M))
    told = set(re.findall(r"^\$ make ([a-z-]+)|`make ([a-z-]+)", README, re.M))

    assert {first or second for first, second in told} <= targets


def test_every_linked_file_and_folder_is_there():
    for document in ROOT.glob("*.md"):
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text(encoding="utf-8")):
            assert "://" in link or (ROOT / link).exists(), f"{document.name}: {link}"
    tree = README.rpartition("```\nsetup.py")[2].partition("```")[0]
    for name in re.findall(r"^(\S+?)/? ", "setup.py" + tree, re.M):
        assert (ROOT / name).exists(), name
