"""Without Google credentials: one line, soon, and nothing tried for half a minute."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from transforms.errors import UserError
from transforms.storage import gcs

ROOT = Path(__file__).resolve().parent.parent.parent
HEAVY = {"tensorflow", "keras", "tensorflow_transform"}  # seconds each


@pytest.fixture
def silence() -> Iterator[str]:
    """A metadata server that takes connections and says nothing, as behind a firewall."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken: list[socket.socket] = []

        def take() -> None:
            while True:
                try:
                    taken.append(server.accept()[0])
                except OSError:
                    return

        threading.Thread(target=take, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        for one in taken:
            one.close()


def bare(home: Path, metadata: str) -> dict[str, str]:
    """An environment where nothing leads to credentials."""
    keep = {key: value for key, value in os.environ.items() if key in ("PATH", "LANG")}
    hosts = {"GCE_METADATA_HOST": metadata, "GCE_METADATA_IP": metadata}
    return {**keep, **hosts, "HOME": str(home), "CLOUDSDK_CONFIG": str(home / "gcloud")}


def lose_credentials(monkeypatch: pytest.MonkeyPatch, home: Path, metadata: str) -> None:
    for name in ("STORAGE_EMULATOR_HOST", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in bare(home, metadata).items():
        monkeypatch.setenv(name, value)


def test_the_search_ends_soon_with_what_to_do(
    tmp_path: Path, silence: str, monkeypatch: pytest.MonkeyPatch
):
    """Before the library is through with a server that says nothing: half a minute."""
    lose_credentials(monkeypatch, tmp_path, silence)
    monkeypatch.setattr(gcs, "CREDENTIALS_SECONDS", 0.01)
    with pytest.raises(UserError, match="gcloud auth application-default login"):
        gcs.find_credentials()
    assert gcs.SEARCH in {thread.name for thread in threading.enumerate()}, "it still looks"


def test_a_file_that_holds_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    lose_credentials(monkeypatch, tmp_path, "127.0.0.1:1")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    with pytest.raises(UserError, match=r"none\.json"):
        gcs.find_credentials()


def test_what_gcloud_left_is_taken_however_long_gcloud_thinks(
    tmp_path: Path, silence: str, monkeypatch: pytest.MonkeyPatch
):
    """The library asks gcloud for a project, which takes seconds when it starts cold."""
    lose_credentials(monkeypatch, tmp_path, silence)
    monkeypatch.setattr(gcs, "CREDENTIALS_SECONDS", 0.01)
    credentials = {
        "type": "authorized_user",
        "client_id": "i",
        "client_secret": "s",
        "refresh_token": "t",
    }
    left = tmp_path / "gcloud" / "application_default_credentials.json"
    left.parent.mkdir()
    left.write_text(json.dumps(credentials))
    slow = tmp_path / "bin" / "gcloud"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nsleep 0.5\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}:{os.environ['PATH']}")

    assert gcs.find_credentials().refresh_token == "t"


IN_BUCKETS = ["--input", "gs://bkt/in/*.parquet", "--output", "gs://bkt/out"]
ON_DATAFLOW = [
    "--runner=DataflowRunner", "--project=my-project", "--region=europe-west1",
    "--temp_location=gs://bkt/tmp",
]  # fmt: skip
SCORE = [*IN_BUCKETS, "--model", "gs://bkt/m"]
PREPROCESS = [*IN_BUCKETS, "--recipe", "char-bilstm-manhattan"]
TRAIN = ["--examples", "gs://bkt/examples", "--output", "gs://bkt/bundle"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "flags"),
    [
        ("score", SCORE),
        ("score", SCORE + ON_DATAFLOW),
        ("preprocess", PREPROCESS + ON_DATAFLOW),
        ("train", TRAIN),
        ("evaluate", IN_BUCKETS + ON_DATAFLOW),
        ("vertex", [*TRAIN, "--project=my-project", "--region=europe-west1", "--image=worker"]),
    ],
)
def test_a_command_says_so_before_it_loads_or_looks_for_anything_long(
    tmp_path: Path, silence: str, command: str, flags: list[str]
):
    script = (
        "import importlib, sys, threading\n"
        "from pipelines.options import command_line\n"
        "from transforms.storage import gcs\n"
        "command = importlib.import_module('pipelines.' + sys.argv.pop(1))\n"
        "code = command_line.run_main(command.run)\n"
        "print(gcs.SEARCH in {thread.name for thread in threading.enumerate()})\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)))\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, command, *flags],
        cwd=ROOT, env=bare(tmp_path, silence), capture_output=True, text=True, timeout=250,
    )  # fmt: skip

    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("twinbeam: no Google Cloud credentials were found")
    assert done.stdout.splitlines()[-2:] == ["True", "[]"]
