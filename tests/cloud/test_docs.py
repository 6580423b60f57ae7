"""The ten commands of docs/gcp.md, as far as they go without an account."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from pipelines import preprocess, score
from pipelines.dataflow import settings as dataflow
from pipelines.options import beam_interface

ROOT = Path(__file__).resolve().parent.parent.parent
DOC = (ROOT / "docs" / "gcp.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (\d+) \| `(.+)` \|$", DOC, re.M)


def shell(command: str) -> str:
    """What make would run, with the variables as the page exports them."""
    block = DOC.split("```console\n")[1].split("```")[0].replace("$ export", "export")
    done = subprocess.run(
        ["bash", "-euc", f"{block}\n{command}"],
        cwd=ROOT, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, timeout=250,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_there_are_ten():
    assert [int(number) for number, _ in ROWS] == [1, 2, 3, 4, 5, 6, 7, 8, 10]
    assert "| 9 | the same without `--estimate` |" in DOC


@pytest.mark.parametrize(("number", "module"), [("6", preprocess), ("8", score)])
def test_the_flags_are_what_the_commands_take(number: str, module):
    command = dict(ROWS)[number].replace("make ", "make -n ", 1)
    line = shell(f"{command} | grep -- '-m twinbeam'")
    words = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {line.partition('-m twinbeam ')[2].partition(' ')[2]}"],
        capture_output=True, text=True, check=True,
    ).stdout.split("\0")[:-1]  # fmt: skip
    options = module.parse(words)

    assert options.inputs[0].startswith("gs://my-bucket/") and options.output.startswith("gs://")
    found = beam_interface.beam_options(options.beam_flags).get_all_options()
    assert found["runner"] == dataflow.RUNNER and found["max_num_workers"] == 10
    assert found["service_account_email"].startswith("twinbeam-worker@my-project.")


def test_every_variable_of_the_commands_is_exported():
    used = set(re.findall(r"\$\{?(\w+)", " ".join(command for _, command in ROWS)))
    exported = set(re.findall(r"(?:export |\s)(\w+)=", DOC.split("```")[1]))
    assert used <= exported


def test_the_setup_is_shown_without_gcloud():
    shown = shell("DRY_RUN=1 infra/setup.sh")
    assert "roles/dataflow.worker" in shown and "twinbeam-worker@my-project" in shown
