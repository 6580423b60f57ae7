"""Every command that the README and the docs show: parsed by the program, and run by a test.

A command of ours is read by its own parser, with all its flags. What then runs it is named in
`RUN_BY`, by command; what no test runs says why in `NOT_RUN`.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
from functools import cache
from pathlib import Path

import pytest

from pipelines.options.beam_interface import beam_parser
from twinbeam.commands import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))
WHEEL = "tests/e2e/test_notebook_and_wheel.py::test_an_installed_wheel_goes_from_csv_to_scores"
CLI = "tests/twinbeam/test_cli.py"
# A test that runs the command as a user does: through its `run` or in a process of its own.
RUN_BY = {
    "convert": WHEEL,
    "train": "tests/pipelines/test_train.py",
    "score": WHEEL,
    "inspect": f"{CLI}::test_convert_and_inspect_load_neither_beam_nor_tensorflow",
    "preprocess": "tests/pipelines/test_preprocess.py",
    "evaluate": "tests/pipelines/test_evaluate.py",
    "find": "tests/pipelines/test_find.py",
    "cluster": "tests/pipelines/test_cluster.py",
    "calibrate": "tests/e2e/test_calibrate_and_serve.py",
    "drift": "tests/pipelines/test_drift_over_nights.py",
    "try": "tests/pipelines/test_inspect_and_try.py",
    "label": "tests/pipelines/test_label.py",
    "doubts": "tests/pipelines/test_label.py",
    "vertex": "tests/cloud/test_vertex.py",
    "export": "tests/pipelines/test_export.py",
    "import": "tests/pipelines/test_import_model.py",
}
# Targets of make that are no command of ours: what runs what they run.
TARGETS_RUN_BY = {
    "demo": "tests/test_demo_pairs.py",
    "airflow-up": "tests/airflow/test_scheduler.py",
    "airflow-down": "tests/airflow/test_scheduler.py",
    "airflow-cli": "tests/airflow/test_scheduler.py",
    "flink-up": "tests/flink/conftest.py",
    "flink-down": "tests/flink/conftest.py",
    "template": "tests/cloud/test_image.py",
    "docs": "tests/test_docs.py",
    "flags": "tests/twinbeam/test_reference.py",
}
# The first word of a command, or a target of make: why no test runs it.
NOT_RUN = {
    "git": "clones from wherever the project is kept",
    "docker": "needs a Docker engine; tests/cloud/test_image.py checks the Dockerfile without one",
    "gcloud": "needs an account at Google Cloud; tests/cloud runs the jobs on stand-ins",
    "open": "opens a browser",
    "alias": "a shell's own word; the flags of docker in it need an engine",
    "export": "a shell's own word; tests/cloud/test_docs.py uses the values",
    "python": "a line of Python on a result, or a test by its name",
    ".venv/bin/python": "a line of Python on a result, or a test by its name",
    "image": "needs a Docker engine; tests/cloud/test_image.py checks the Dockerfile without one",
    "lint": "runs in CI itself",
    "test": "runs in CI itself",
    "test-slow": "runs tests",
    "test-flink": "runs tests",
    "test-airflow": "runs tests",
    "test-cloud": "runs tests",
    "bench": "takes an hour and real data",
    "bench-peers": "installs torch, onnxruntime and OpenVINO, and needs real data",
    "quality": "takes hours and real data",
    "setup": "every other target does it first",
    "lock": "asks a package registry",
    "lock-check": "asks a package registry",
    "audit": "asks a package registry",
    "format": "changes the code",
    "screenshots": "writes into docs/; tests/test_screenshots.py takes one picture",
    "clean": "deletes",
    "run-train-vertex": "tests/cloud/test_vertex.py runs its command on a stand-in",
}  # fmt: skip


def commands_in(page: Path) -> list[str]:
    """The commands of a page's blocks, with lines that end in a backslash joined."""
    found = []
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
    for kind, text in blocks:
        joined = re.sub(r"\\\n\s*", " ", text)
        prompts = re.findall(r"^\$ (.+)$", joined, re.M)
        if kind in ("", "bash", "sh") and not prompts:
            prompts = [line for line in joined.splitlines() if re.match(r"(twinbeam|make) ", line)]
        found += [part for line in prompts for part in re.split(r"\s&&\s", line)]
    return found


SHOWN = [(page.name, line) for page in PAGES for line in commands_in(page)]
OURS = [(page, line) for page, line in SHOWN if line.startswith("twinbeam ")]
MADE = [(page, line) for page, line in SHOWN if line.startswith("make ")]
OTHERS = [pair for pair in SHOWN if pair not in OURS and pair not in MADE]


@cache
def targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.M))


def words_of(line: str) -> list[str]:
    words = shlex.split(line, comments=True)
    return words[: words.index("<")] if "<" in words else words


def _no_outer_make() -> dict[str, str]:
    """Under `make test`, a make of a test would say which folder it enters and leaves."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}


def check_words(name: str, words: list[str]) -> None:
    """The command's own parser takes the words; what it leaves are flags of Beam."""
    parser = COMMANDS[name].parser()
    _, rest = parser.parse_known_args(words)
    if rest:
        assert parser.takes_beam_flags or name == "vertex", rest
        assert not beam_parser().parse_known_args(rest)[1], rest


def test_commands_are_found_in_many_pages():
    assert {page for page, _ in OURS} >= {"README.md", "evaluate.md", "find.md", "recipes.md"}
    assert len(OURS) > 20 and len(MADE) > 10


@pytest.mark.parametrize(("page", "line"), OURS)
def test_the_program_takes_the_command(page: str, line: str):
    _, name, *words = words_of(line)

    check_words(name, words)
    assert name in RUN_BY


@pytest.mark.parametrize(("page", "line"), MADE)
def test_make_takes_the_command(page: str, line: str):
    words = [word for word in words_of(line)[1:] if "=" not in word and word != "…"]
    assert set(words) <= targets()
    for target in words:
        run = target.removeprefix("run-")
        assert target in NOT_RUN or target in TARGETS_RUN_BY or RUN_BY.get(run), target
    if len(words) == 1 and words[0].startswith("run-") and "…" not in line and "$" not in line:
        done = subprocess.run(
            ["make", "-n", "-o", ".venv/.ready", "-o", "build/kernels.built", *words_of(line)[1:]],
            cwd=ROOT, capture_output=True, text=True, timeout=60, env=_no_outer_make(),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        typed = done.stdout.replace("\\\n", " ").partition("-m twinbeam ")[2]
        name, *flags = shlex.split(typed)
        check_words(name, flags)


@pytest.mark.parametrize(("page", "line"), OTHERS)
def test_another_command_says_why_no_test_runs_it(page: str, line: str):
    assert line.split()[0] in NOT_RUN or line.startswith("cd "), line


@pytest.mark.parametrize("test", sorted({*RUN_BY.values(), *TARGETS_RUN_BY.values()}))
def test_what_runs_a_command_is_there(test: str):
    path, _, name = test.partition("::")
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert not name or name in functions


def test_every_exception_is_one_of_something_shown_or_a_target():
    shown = {line.split()[0] for _, line in SHOWN} | targets()
    assert NOT_RUN.keys() <= shown
