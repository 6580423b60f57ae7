from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def make(tmp_path: Path):
    """Runs make on a copy of the Makefile, where nothing is installed."""
    shutil.copy(ROOT / "Makefile", tmp_path)

    def run(*words: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["make", "--no-print-directory", *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


def test_help_lists_every_target_with_a_line(make):
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.M))
    listed = dict(re.findall(r"^  ([a-z-]+) +(\S.+)$", make("help").stdout, re.M))

    assert set(listed) == targets
    assert {"demo", "test", "run-preprocess", "run-train", "run-score", "run-evaluate"} <= targets
    assert make().stdout == make("help").stdout


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        (["run-score", "MODEL=m", "OUTPUT=o"], "INPUT= is missing"),
        (["run-score", "INPUT=i", "OUTPUT=o"], "MODEL= is missing"),
        (["run-preprocess", "INPUT=i", "OUTPUT=o"], "RECIPE= is missing"),
        (["run-train"], "EXAMPLES= is missing"),
        (["run-train", "RECIPE=universal-cosine"], "OUTPUT= is missing"),
        (["run-evaluate", "INPUT=i"], "OUTPUT= is missing"),
        (["run-calibrate", "INPUT=i", "OUTPUT=o"], "MODEL= is missing"),
    ],
)
def test_a_missing_variable_is_reported_in_one_line_before_anything_is_installed(
    make, tmp_path: Path, words: list[str], missing: str
):
    done = make(*words)

    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert missing in done.stderr and f"for example: make {words[0]} " in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_values_reach_the_program_as_they_are(make, tmp_path: Path):
    (tmp_path / "a.parquet").touch()
    command = make(
        "-n", "-o", ".venv/.ready", "-o", "build/kernels.built", "run-score",
        "INPUT=*.parquet gs://b/it's?", "MODEL=my bundle", "OUTPUT=out",
        "RUNNER=DataflowRunner", "ARGS=--threshold 0.7",
    ).stdout.splitlines()[-1]  # fmt: skip
    printed = subprocess.run(
        ["bash", "-c", command.replace(".venv/bin/python", "printf '%s\\n'")],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip

    assert printed.splitlines() == [
        "-m", "twinbeam", "score", "--input", "*.parquet", "gs://b/it's?", "--model=my bundle",
        "--output=out", "--runner=DataflowRunner", "--threshold", "0.7",
    ]  # fmt: skip


def test_no_file_has_the_marks_of_a_merge_left_in_it():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a checkout")
    marked = re.compile(rb"^(<{7}|>{7}) ", re.M)
    names = [name for name in listed.stdout.decode().split("\0") if (ROOT / name).is_file()]
    found = [name for name in names if marked.search((ROOT / name).read_bytes())]

    assert names and found == []
