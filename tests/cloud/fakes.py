"""Google Cloud on loopback: a bucket store, the Dataflow service, credentials that cost nothing.

python -m tests.cloud.fakes starts them, prints the environment to use them with, and waits.
In tests: `with fake_cloud() as cloud:`, with `cloud.environment` for subprocesses.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cloud.dataflow_service import FakeDataflow, serve_dataflow
from tests.cloud.gateway import Call, Gateway, serve_gateway

PROJECT, REGION, BUCKET = "my-project", "europe-west1", "my-bucket"


@dataclass
class FakeCloud:
    """The servers that run.

    Attributes:
        storage: the gateway before the bucket store: its log, its faults.
        dataflow: the service: the jobs it got, how they shall go.
        storage_url: for `STORAGE_EMULATOR_HOST`.
        dataflow_url: for `--dataflow_endpoint` and Airflow's `api_endpoint`.
        environment: variables that lead Google's own clients here.
    """

    storage: Gateway
    dataflow: FakeDataflow
    storage_url: str
    dataflow_url: str
    environment: dict[str, str]

    def write(self, path: str, content: bytes) -> None:
        """Puts an object `gs://BUCKET/NAME`."""
        self._blob(path).upload_from_string(content, "application/octet-stream")

    def read(self, path: str) -> bytes:
        """Gets an object."""
        return self._blob(path).download_as_bytes()

    def names(self, folder: str) -> list[str]:
        """Names of all objects below `gs://BUCKET/FOLDER/`, relative to it."""
        bucket, _, prefix = folder.removeprefix("gs://").partition("/")
        prefix = prefix.rstrip("/") + "/" if prefix else ""
        blobs = self._client().list_blobs(bucket, prefix=prefix)
        return sorted(blob.name.removeprefix(prefix) for blob in blobs)

    def calls(self, method: str, name: str = "") -> list[Call]:
        """The calls of that method on objects whose name ends so."""
        return [c for c in self.storage.calls if c.method == method and c.name.endswith(name)]

    def _client(self):
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import storage

        return storage.Client(
            project=PROJECT,
            credentials=AnonymousCredentials(),
            client_options={"api_endpoint": self.storage_url},
        )

    def _blob(self, path: str):
        bucket, _, name = path.removeprefix("gs://").partition("/")
        return self._client().bucket(bucket).blob(name)


@contextmanager
def fake_cloud(*, storage_port: int = 0, dataflow_port: int = 0) -> Iterator[FakeCloud]:
    """Starts everything on loopback, on free ports unless some are given, and stops it."""
    with ExitStack() as stack:
        gateway = Gateway(stack.enter_context(_emulator()))
        service = FakeDataflow()
        servers = serve_gateway(gateway, storage_port), serve_dataflow(service, dataflow_port)
        for server in servers:
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
        storage_url = f"http://127.0.0.1:{servers[0].server_port}"
        dataflow_url = f"http://localhost:{servers[1].server_port}"
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fake-cloud-")))
        environment = {
            "STORAGE_EMULATOR_HOST": storage_url,
            "GOOGLE_APPLICATION_CREDENTIALS": str(_credentials(folder, servers[1].server_port)),
            "GOOGLE_CLOUD_PROJECT": PROJECT,
        }
        yield FakeCloud(gateway, service, storage_url, dataflow_url, environment)


@contextmanager
def _emulator() -> Iterator[int]:
    """The bucket store with one bucket; gives its port."""
    from functools import partial
    from http.server import ThreadingHTTPServer

    from gcp_storage_emulator.handlers import buckets
    from gcp_storage_emulator.server import RequestHandler
    from gcp_storage_emulator.storage import Storage

    store = Storage(use_memory_fs=True)
    buckets.create_bucket(BUCKET, store)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(RequestHandler, store))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def _credentials(folder: Path, port: int) -> Path:
    """Credentials of an outside account: no key, and its token comes from the fake service."""
    (folder / "subject.txt").write_text("me")
    content = {
        "type": "external_account",
        "audience": "//fake",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"http://127.0.0.1:{port}/token",
        "credential_source": {"file": str(folder / "subject.txt")},
    }
    path = folder / "credentials.json"
    path.write_text(json.dumps(content))
    return path


def main() -> None:
    """Starts the fakes for a person or another process, until they are interrupted."""
    with fake_cloud() as cloud:
        for name, value in {**cloud.environment, "DATAFLOW_ENDPOINT": cloud.dataflow_url}.items():
            print(f"export {name}={value}")
        print(f"# bucket gs://{BUCKET}, project {PROJECT}, region {REGION}", flush=True)
        if "--execute" in sys.argv:
            os.environ.update(cloud.environment)
            cloud.dataflow.execute = True
        threading.Event().wait()


if __name__ == "__main__":
    main()
