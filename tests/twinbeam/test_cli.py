"""The console command: it lists, helps, completes and hints without Beam or TensorFlow."""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scored_pairs import scored_table, write_scores
from tests.test_architecture import OURS, at_module_level
from twinbeam import cli
from twinbeam.commands import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
HEAVY = (
    "apache_beam", "tensorflow", "keras", "google.cloud.storage", "pandas", "pydantic", "yaml",
    "scipy", "sklearn", "matplotlib", "faiss", "numba",
)  # fmt: skip


def in_a_new_process(*words: str) -> subprocess.CompletedProcess[str]:
    """Runs the command, and prints at its end which heavy packages it has loaded."""
    code = (
        "import atexit, sys\n"
        f"show = lambda: print('loaded', sorted(set({HEAVY!r}) & set(sys.modules)))\n"
        "atexit.register(show)\n"
        "from twinbeam.cli import main\n"
        f"raise SystemExit(main({[*words]!r}))\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=250
    )


def test_help_of_every_command_loads_neither_beam_nor_tensorflow():
    done = in_a_new_process("--help")
    assert done.returncode == 0 and done.stdout.endswith("loaded []\n")
    for name in COMMANDS:
        assert f"\n  {name} " in done.stdout
    code = (
        "import sys\n"
        "from twinbeam.commands import COMMANDS\n"
        "for name, command in COMMANDS.items():\n"
        "    command.parser().format_help()\n"
        f"    assert not set({HEAVY!r}) & set(sys.modules), name\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=250)


def test_convert_and_inspect_load_neither_beam_nor_tensorflow(tmp_path: Path):
    (tmp_path / "pairs.csv").write_text("sentence1,sentence2\nhow do I pay?,where to pay\n")
    flags = ["--input", str(tmp_path / "pairs.csv"), "--output", str(tmp_path / "pairs.parquet")]
    scores = str(write_scores(tmp_path / "scores", scored_table(50)))
    for words in (["convert", *flags, "--no_label"], ["inspect", scores, "--no_sums"]):
        done = in_a_new_process(*words)
        assert done.returncode == 0 and done.stdout.endswith("loaded []\n"), done


def test_help_of_a_command_has_two_names(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["help", "find"]) == 0
    first = capsys.readouterr().out
    assert cli.main(["find", "--help"]) == 0
    assert capsys.readouterr().out == first
    usage, _, rest = first.partition("\n\n")
    assert "(--input GLOB … | --left GLOB … --right GLOB …) --model BUNDLE" in usage
    assert rest.index("--left") < rest.index("\ninput:\n") < rest.index("--against")


def test_a_switch_is_spelled_as_every_other_flag():
    parser = COMMANDS["score"].parser()
    given = ["--input", "a", "--model", "m", "--output", "o"]
    for words, redact in ([], True), (["--redact"], True), (["--no_redact"], False):
        assert parser.parse_known_args([*given, *words])[0].redact is redact


def test_every_module_with_a_command_line_is_listed():
    listed = {command.module.rpartition(".")[2] for command in COMMANDS.values()} | {"commands"}
    present = {
        path.stem
        for path in (ROOT / "pipelines").glob("*.py")
        if any(
            isinstance(node, ast.FunctionDef) and node.name == "main"
            for node in ast.parse(path.read_text(encoding="utf-8")).body
        )
    }
    assert present <= listed


@pytest.mark.parametrize("name", COMMANDS)
def test_help_puts_required_flags_first_and_names_no_flag_twice(name: str):
    parser = COMMANDS[name].parser()
    text = parser.format_help()
    required = [action for action in parser._actions if action.required and action.option_strings]
    part = text.partition("\nrequired:\n")[2].partition("\n\n")[0]
    for action in required:
        assert action.option_strings[-1] in part
    for action in parser._actions:
        for flag in action.option_strings[:1]:
            assert len(re.findall(rf"^  {flag}\b", text, re.M)) == 1, flag
            assert "-" not in flag.removeprefix("--").lstrip("-"), flag
    assert not re.search(r"[A-Z]+_COLUMN", text)
    assert f"twinbeam {name} " in text and "\nExample:\n" in text


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["scroe"], "twinbeam: no command 'scroe', did you mean score?; see twinbeam --help\n"),
        (["convert", "--inptu", "a", "--input", "b", "--output", "c"],
         "twinbeam: unknown flag '--inptu', did you mean --input?\n"),
        (["convert", "--inptu", "a", "--output", "c"],
         "twinbeam: unknown flag '--inptu', did you mean --input?\n"),
        (["inspect", "a", "--nonsense"],
         "twinbeam: unknown flag '--nonsense'; see twinbeam inspect --help\n"),
        (["convert", "--input", "b"],
         "twinbeam: --output missing; see twinbeam convert --help\n"),
    ],
)  # fmt: skip
def test_a_slip_is_one_line_with_a_hint(
    words: list[str],
    line: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(sys, "argv", ["twinbeam"])
    try:
        code = cli.main(words)
    except SystemExit as ended:
        code = ended.code
    assert code == 2 and capsys.readouterr().err == line


def test_a_slip_in_a_flag_of_ours_is_not_given_to_beam(capsys: pytest.CaptureFixture[str]):
    parser = COMMANDS["score"].parser()
    given = ["--input", "a", "b", "--model", "m", "--output", "o"]
    with pytest.raises(SystemExit):
        parser.parse_known_args([*given, "--treshold", "0.4"])
    assert "'--treshold', did you mean --threshold?" in capsys.readouterr().err
    found, rest = parser.parse_known_args([*given, "--runner=FlinkRunner", "--region", "x"])
    assert found.input == ["a", "b"] and rest == ["--runner=FlinkRunner", "--region", "x"]


@pytest.mark.parametrize("shell", cli.SHELLS)
def test_completion_knows_every_flag(shell: str, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for command in COMMANDS.values():
        for action in command.parser()._actions:
            for flag in action.option_strings:
                assert flag.lstrip("-") in script


def test_bash_takes_the_completion(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    cli.main(["completion", "bash"])
    (tmp_path / "script").write_text(capsys.readouterr().out)
    ask = "source ./script; COMP_WORDS=(twinbeam score --thr); COMP_CWORD=2; _shtab_twinbeam; "
    done = subprocess.run(
        ["bash", "-c", ask + 'echo "${COMPREPLY[@]}"'],
        cwd=tmp_path, capture_output=True, text=True, timeout=250,
    )  # fmt: skip
    assert done.stdout.split() == ["--threshold"], done.stderr


def test_what_no_command_knows_is_wrong_use(capsys: pytest.CaptureFixture[str]):
    assert cli.main([]) == 2
    assert cli.main(["completion", "fish"]) == 2
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.endswith("\n")


def test_ctrl_c_before_the_command_has_begun(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def stop(_: object) -> argparse.ArgumentParser:
        raise KeyboardInterrupt

    monkeypatch.setattr(type(COMMANDS["score"]), "parser", stop)
    assert cli.main(["score", "--help"]) == 130
    assert capsys.readouterr().err == "twinbeam: stopped\n"


def loads_beam(module: str, seen: set[str]) -> bool:
    """Whether a module of ours imports Beam at module level, itself or by another of ours."""
    if module in seen:
        return False
    seen.add(module)
    tree = ast.parse(path_of(module).read_text(encoding="utf-8"))
    for node in at_module_level(tree.body):
        names = [one.name for one in node.names]
        if isinstance(node, ast.ImportFrom):
            names = [str(node.module), *(f"{node.module}.{name}" for name in names)]
        for name in names:
            package = name.partition(".")[0]
            if package == "apache_beam":
                return True
            if package in OURS and path_of(name).is_file() and loads_beam(name, seen):
                return True
    return False


def path_of(module: str) -> Path:
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def test_each_command_that_imports_beam_says_so():
    found = {name: loads_beam(command.module, set()) for name, command in COMMANDS.items()}
    assert found == {name: command.on_beam for name, command in COMMANDS.items()}
    assert found["score"] and not found["convert"]
