"""Ctrl-C in the middle of a command: one line, exit code 130, and no word of a library."""

from __future__ import annotations

import importlib
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from twinbeam.commands import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
LINE = "twinbeam: stopped; the same command again resumes"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_ends_with_a_line_and_130(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    named = importlib.import_module(COMMANDS[name].module)
    module = sys.modules[named.main.__module__]  # that of `try` stands elsewhere
    monkeypatch.setattr(module, "run", stop)
    assert module.main() == 130
    assert capsys.readouterr().err.splitlines() == [LINE]


def interrupted(words: list[str], cwd: Path, *, after: str, typed: str = "") -> tuple[int, str]:
    """Runs a command, presses Ctrl-C when it has printed a line; returns exit code and stderr."""
    with subprocess.Popen(
        [sys.executable, "-m", "twinbeam", *words],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(typed)
        process.stdin.flush()
        printed = []
        for line in process.stdout:
            printed.append(line)
            if after in line:
                break
        else:
            raise AssertionError("".join(printed) + (process.stderr or sys.stdin).read())
        process.send_signal(signal.SIGINT)
        process.stdin.close()
        error = process.stderr.read() if process.stderr else ""
        code = process.wait(timeout=60)
    return code, error


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "after", "flags"),
    [
        ("score", "to score", ["--input", "LABELLED", "--model", "BUNDLE", "--output", "OUT"]),
        ("preprocess", "to preprocess",
         ["--input", "LABELLED", "--recipe", "cnn", "--output", "OUT"]),
        ("train", "", ["--examples", "EXAMPLES", "--output", "OUT", "--epochs", "900"]),
        ("find", "", ["--input", "LABELLED", "--sentence_column", "sentence1", "--model", "BUNDLE",
                      "--output", "OUT"]),
        ("try", "similarity", ["BUNDLE"]),
    ],
)  # fmt: skip
def test_ctrl_c_in_the_middle(
    tiny: SimpleNamespace, tmp_path: Path, name: str, after: str, flags: list[str]
):
    places = {
        "LABELLED": str(tiny.folder / "labelled.parquet"), "BUNDLE": tiny.bundle,
        "EXAMPLES": str(tiny.folder / "examples"), "OUT": str(tmp_path / "out"),
    }  # fmt: skip
    words = [places.get(word, word) for word in flags]
    code, error = interrupted([name, *words], tmp_path, after=after, typed="a\tb\n")

    assert code == 130, error
    assert error.splitlines()[-1] == LINE
    assert "Traceback" not in error and "W0000" not in error and "I0000" not in error
    assert not (tmp_path / "out/_SUCCESS").exists()


def test_ctrl_c_after_the_end_changes_nothing(tmp_path: Path):
    """The command has ended, and Python shuts down, which takes its threads a moment."""
    program = (
        "import atexit, os, signal, sys\n"
        "from twinbeam.cli import main\n"
        "atexit.register(os.kill, os.getpid(), signal.SIGINT)\n"
        "sys.argv = ['twinbeam', '--help']\n"
        "sys.exit(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "score" in done.stdout
