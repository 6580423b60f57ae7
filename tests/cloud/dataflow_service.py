"""A stand-in for the Dataflow service, for the real client: jobs, messages, metrics, templates.

A job goes through `states`, a step each time somebody asks for it. With `execute` the service does
what the real one would do with it: runs what was staged in the bucket, and nothing else.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.cloud.gateway import QuietServer

PENDING, RUNNING, DONE = "JOB_STATE_PENDING", "JOB_STATE_RUNNING", "JOB_STATE_DONE"
FAILED, CANCELLED = "JOB_STATE_FAILED", "JOB_STATE_CANCELLED"
ENDED = {DONE, FAILED, CANCELLED, "JOB_STATE_UPDATED", "JOB_STATE_DRAINED"}
_JOBS = re.compile(r"/v1b3/projects/([^/]+)(?:/locations/([^/]+))?/jobs(?::aggregated)?(?:/(.+))?$")
_LAUNCH = re.compile(r"/v1b3/projects/([^/]+)/locations/([^/]+)/flexTemplates:launch$")


@dataclass
class FakeJob:
    """A job as the service knows it."""

    request: dict[str, Any]
    id: str
    region: str
    states: list[str]
    error: str = ""
    process: subprocess.Popen | None = None

    @property
    def state(self) -> str:
        return self.states[0]

    def step(self) -> None:
        """One state further; a job that is executed ends when its process does."""
        if self.process is not None and self.state not in ENDED:
            code = self.process.poll()
            if code is not None:
                self.states = [DONE if code == 0 else FAILED]
                self.error = "" if code == 0 else self.process.stderr.read()[-2000:]
        elif len(self.states) > 1:
            self.states.pop(0)

    def described(self) -> dict[str, Any]:
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        return {
            **self.request,
            "id": self.id,
            "projectId": "any",
            "location": self.region,
            "currentState": self.state,
            "currentStateTime": now,
            "createTime": now,
        }


@dataclass
class FakeDataflow:
    """The service: `jobs` is what was asked for; the rest says how it shall go."""

    states: Sequence[str] = (PENDING, RUNNING, DONE)
    error: str = ""
    execute: bool = False
    jobs: list[FakeJob] = field(default_factory=list)
    launches: list[dict[str, Any]] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def create(self, request: dict[str, Any], region: str) -> dict[str, Any]:
        """A new job; where one of that name is active, that one, as the service does."""
        request = _with_names(request)
        for job in self.jobs:
            if job.request["name"] == request["name"] and job.state not in ENDED:
                return job.described()
        job = FakeJob(request, f"2026-11-21_{len(self.jobs):04d}", region, list(self.states))
        job.error = self.error
        if self.execute:
            job.states = [RUNNING]
            job.process = subprocess.Popen(
                [sys.executable, "-m", "tests.cloud.run_job", json.dumps(request)],
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
        self.jobs.append(job)
        return job.described()

    def job(self, job_id: str) -> FakeJob | None:
        return next((job for job in self.jobs if job.id == job_id), None)

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, dict[str, Any]]:
        with self._lock:
            self.requests.append((method, target))
            path = urlsplit(target).path
            if path == "/token":
                return 200, TOKEN
            content = json.loads(body or b"{}")
            if launched := _LAUNCH.match(path):
                self.launches.append(content)
                name = content["launchParameter"]["jobName"]
                return 200, {"job": self.create({"name": name}, launched[2])}
            match = _JOBS.match(path)
            if not match:
                return 404, {"error": {"code": 404, "message": f"no {path} here"}}
            return self._jobs(method, match[2] or "us-central1", match[3], target, content)

    def _jobs(
        self, method: str, region: str, rest: str | None, target: str, content: dict[str, Any]
    ) -> tuple[int, dict[str, Any]]:
        if rest is None and method == "POST":
            return 200, self.create(content, region)
        if rest is None:
            return 200, {"jobs": [job.described() for job in self._listed(target)]}
        job_id, _, detail = rest.partition("/")
        job = self.job(job_id)
        if job is None:
            return 404, {"error": {"code": 404, "message": f"no job {job_id}"}}
        if method == "PUT":
            job.states = [content["requestedState"]]
            return 200, job.described()
        if detail == "messages":
            return 200, {"jobMessages": _messages(job)}
        if detail == "metrics":
            return 200, {"metrics": []}
        described = job.described()
        job.step()
        return 200, described

    def _listed(self, target: str) -> list[FakeJob]:
        query = parse_qs(urlsplit(target).query)
        which = (query.get("filter") or ["ALL"])[0]
        active = which in ("ACTIVE", "2")
        return [job for job in self.jobs if not active or job.state not in ENDED]


def _with_names(request: dict[str, Any]) -> dict[str, Any]:
    """The job by the client's own types, which refuse fields that they do not know."""
    from google.cloud.dataflow_v1beta3 import Job

    job = Job.from_json(json.dumps(request))
    names = {"use_integers_for_enums": False, "always_print_fields_with_no_presence": False}
    return json.loads(Job.to_json(job, **names))


TOKEN = {
    "access_token": "made-up",
    "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
    "token_type": "Bearer",
    "expires_in": 3600,
}


def _messages(job: FakeJob) -> list[dict[str, str]]:
    if job.state != FAILED:
        return []
    text = job.error or "made up by the test"
    importance = "JOB_MESSAGE_ERROR"
    time = "2026-11-21T08:00:00.000Z"
    return [{"id": "1", "time": time, "messageImportance": importance, "messageText": text}]


def serve_dataflow(service: FakeDataflow, port: int = 0) -> QuietServer:
    """Serves it on loopback, in a thread of its own; shut it down at the end."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, content = service.answer(self.command, self.path, _told(self.headers, body))
            answer = json.dumps(content).encode()
            self.send_response_only(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_PUT = serve

        log_message: Callable[..., None] = lambda *_: None

    server = QuietServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def _told(headers: Any, body: bytes) -> bytes:
    return body if "json" in (headers.get("Content-Type") or "") else b"{}"
