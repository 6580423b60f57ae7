"""infra/setup.sh, against a gcloud that writes down what it was asked for."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
GIVEN = {"PROJECT": "my-project", "REGION": "europe-west1", "BUCKET": "my-bucket"}
WORKER = "serviceAccount:twinbeam-worker@my-project.iam.gserviceaccount.com"


@pytest.fixture
def gcloud(tmp_path: Path) -> Path:
    """A gcloud that knows nothing yet: to describe fails, the rest works and is written down."""
    fake = tmp_path / "bin" / "gcloud"
    fake.parent.mkdir()
    log = tmp_path / "log"
    fake.write_text(
        '#!/bin/bash\ncase " $* " in *" describe "*) exit "${KNOWN:-1}";; esac\n'
        f"printf '%q ' \"$@\" >>{log}; echo >>{log}\n"
    )
    fake.chmod(0o755)
    return log


def run(gcloud: Path, **more: str) -> list[list[str]]:
    path = f"{gcloud.parent / 'bin'}:{os.environ['PATH']}"
    done = subprocess.run(
        [ROOT / "infra/setup.sh"], env={"PATH": path, **GIVEN, **more},
        capture_output=True, text=True, timeout=250,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [shlex.split(line) for line in gcloud.read_text().splitlines()]


def roles(commands: list[list[str]], member: str) -> set[str]:
    bound = [command for command in commands if "add-iam-policy-binding" in command]
    mine = [command for command in bound if command[command.index("--member") + 1] == member]
    return {command[command.index("--role") + 1] for command in mine}


def test_the_workers_get_the_least_roles(gcloud: Path):
    commands = run(gcloud)

    assert roles(commands, WORKER) == {
        "roles/dataflow.worker",
        "roles/storage.objectUser",
        "roles/storage.legacyBucketReader",
        "roles/artifactregistry.reader",
    }
    project_wide = [c for c in commands if c[:2] == ["projects", "add-iam-policy-binding"]]
    assert [c[c.index("--role") + 1] for c in project_wide] == ["roles/dataflow.worker"]
    for word in ("owner", "editor", "admin", "Admin", "allUsers"):
        assert not any(word in argument for command in commands for argument in command)


def test_bucket_registry_and_account_are_made_once(gcloud: Path):
    made = [" ".join(c) for c in run(gcloud) if "create" in c]
    assert len(made) == 3 and any("--public-access-prevention" in one for one in made)

    gcloud.unlink()
    assert [c for c in run(gcloud, KNOWN="0") if "create" in c] == []


def test_who_submits_may_start_workers_as_their_account(gcloud: Path):
    assert roles(run(gcloud, LAUNCHER="user:me@example.com"), "user:me@example.com") == {
        "roles/dataflow.developer",
        "roles/serviceusage.serviceUsageConsumer",
        "roles/storage.objectUser",
        "roles/storage.legacyBucketReader",
        "roles/artifactregistry.writer",
        "roles/iam.serviceAccountUser",
    }


def test_every_command_names_the_project(gcloud: Path):
    commands = run(gcloud)
    assert all(c[c.index("--project") + 1] == "my-project" for c in commands)


def test_without_its_variables_it_does_nothing(gcloud: Path):
    done = subprocess.run(
        [ROOT / "infra/setup.sh"], env={"PATH": os.environ["PATH"]},
        capture_output=True, text=True, timeout=250,
    )  # fmt: skip
    assert done.returncode != 0 and "PROJECT" in done.stderr and not gcloud.exists()
