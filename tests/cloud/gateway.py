"""A small gateway before the storage emulator: what a bucket promises, and what a network does.

It adds what the emulator lacks: preconditions (`ifGenerationMatch`), reads pinned to a generation,
links that lead back here, and what TensorFlow's own client asks for. It keeps a log of every call,
and can make a share of the calls fail as real ones do: 429, 5xx, a connection cut before or after
the work was done.
"""

from __future__ import annotations

import http.client
import json
import random
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

HOP = {"connection", "keep-alive", "transfer-encoding", "te", "expect", "content-length"}
FAULTS = (429, 500, 502, 503, 504, "cut before", "cut after", "cut body")
_OBJECT = re.compile(r"(?:/download|/upload)?/storage/v1/b/([^/]+)/o(?:/(.+))?$")
_COPY = re.compile(r"(.+)/(?:rewriteTo|copyTo)/b/([^/]+)/o/(.+)$")
_MEDIA_LINK = re.compile(rb'("mediaLink":\s*")https?://[^/"]+')
_BYTES_SENT = re.compile(r"bytes \d")  # not "bytes */N", which asks what has arrived


@dataclass(frozen=True)
class Call:
    """One call that reached the gateway."""

    method: str
    bucket: str
    name: str
    query: dict[str, str]
    range: str | None
    status: int | str
    sent: int
    received: int
    uploading: bool


@dataclass
class Conditions:
    """What an upload session was begun with."""

    bucket: str
    name: str
    query: dict[str, str]


@dataclass
class Gateway:
    """Forwards to the emulator at `port`.

    `calls` is the log; `fault_share` of the calls fail, the next `silent` ones get no answer.
    """

    port: int
    calls: list[Call] = field(default_factory=list)
    fault_share: float = 0.0
    silent: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    random: random.Random = field(default_factory=lambda: random.Random(7))
    _sessions: dict[str, Conditions] = field(default_factory=dict)
    _received: dict[tuple[str | None, str | None], Answer] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def failing(self, share: float) -> Iterator[None]:
        """Lets that share of the calls fail: of the same calls in the same order, the same ones."""
        self.fault_share, self.faults, self.random = share, {}, random.Random(7)
        try:
            yield
        finally:
            self.fault_share = 0.0

    def fault(self) -> int | str | None:
        with self._lock:
            if self.silent:
                self.silent -= 1
                return "silence"
            if self.random.random() >= self.fault_share:
                return None
            kind = self.random.choice(FAULTS)
            self.faults[str(kind)] = self.faults.get(str(kind), 0) + 1
            return kind

    def answer(self, request: Request) -> Answer:
        """What the store says to a request; one that changes something is alone meanwhile."""
        if request.method in ("GET", "HEAD"):
            return self._refusal(request) or self.forward(request)
        with self._lock:
            headers = {key.lower(): value for key, value in request.headers.items()}
            sent = (request.query.get("upload_id"), headers.get("content-range"))
            if sent in self._received:  # the store passes over bytes that it has already
                return self._received[sent]
            answer = self._refusal(request) or self.forward(request)
            self._remember_session(request, answer)
            ended = answer.status in (200, 201)  # an empty last chunk says "bytes */N" too
            counted = answer.status == 308 and _BYTES_SENT.match(sent[1] or "")
            if sent[0] and (ended or counted):
                self._received[sent] = answer
            return answer

    def forward(self, request: Request) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            request = _mended(request)
            connection.request(request.method, request.target, request.body, request.headers)
            response = connection.getresponse()
            answer = Answer(response.status, dict(response.getheaders()), response.read())
            return _leading_here(answer, request)
        finally:
            connection.close()

    def generation(self, bucket: str, name: str) -> int:
        """Of an object; 0 where there is none."""
        from urllib.parse import quote

        target = f"/storage/v1/b/{bucket}/o/{quote(name, safe='')}"
        found = self.forward(Request("GET", target, {}, b""))
        return int(json.loads(found.body)["generation"]) if found.status == 200 else 0

    def _refusal(self, request: Request) -> Answer | None:
        """The answer to a request whose precondition does not hold."""
        if request.target.startswith("/storage/v1/b/") and request.path.endswith("/storageLayout"):
            return _as_json(200, {"hierarchicalNamespace": {"enabled": False}})
        query, bucket, name = request.query, request.bucket, request.name
        session = self._sessions.get(query.get("upload_id", ""))
        if session:
            query, bucket, name = session.query, session.bucket, session.name
        copied = _COPY.match(name)
        source = (bucket, copied[1]) if copied else (bucket, name)
        target = (copied[2], copied[3]) if copied else (bucket, name)
        for key, place in (("ifGenerationMatch", target), ("ifSourceGenerationMatch", source)):
            if key in query and self.generation(*place) != int(query[key]):
                return _error(412, "conditionNotMet", "At least one precondition did not hold.")
        pinned = query.get("generation") or query.get("sourceGeneration")
        if pinned and self.generation(*source) != int(pinned):
            return _error(404, "notFound", "No such object")
        return None

    def _remember_session(self, request: Request, answer: Answer) -> None:
        location = answer.headers.get("Location", "")
        if "upload_id" in request.query or "upload_id=" not in location:
            return
        session = parse_qs(urlsplit(location).query)["upload_id"][0]
        self._sessions[session] = Conditions(request.bucket, request.name, request.query)


@dataclass(frozen=True)
class Request:
    """A request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        found = parse_qs(urlsplit(self.target).query, keep_blank_values=True)
        return {key: values[0] for key, values in found.items()}

    @property
    def bucket(self) -> str:
        found = _OBJECT.match(self.path)
        return unquote(found[1]) if found else ""

    @property
    def name(self) -> str:
        """The object; of a copy with where it goes; of an upload from the query or its metadata."""
        found = _OBJECT.match(self.path)
        if found and found[2]:
            return unquote(found[2])
        if not self.uploading:
            return ""
        if "name" in self.query:
            return self.query["name"]
        inside = re.search(rb'"name":\s*("(?:[^"\\]|\\.)*")', self.body[:4096])
        return json.loads(inside[1]) if inside else ""

    @property
    def uploading(self) -> bool:
        return "uploadType" in self.query


@dataclass(frozen=True)
class Answer:
    """A response."""

    status: int
    headers: dict[str, str]
    body: bytes


def _mended(request: Request) -> Request:
    """An empty simple upload as one in two parts, which the emulator reads."""
    if request.query.get("uploadType") != "media" or request.body:
        return request
    parts = (
        b"--x\r\nContent-Type: application/json\r\n\r\n{}\r\n"
        b"--x\r\nContent-Type: application/octet-stream\r\n\r\n\r\n--x--\r\n"
    )
    target = request.target.replace("uploadType=media", "uploadType=multipart")
    kept = {k: v for k, v in request.headers.items() if k.lower() != "content-type"}
    headers = {**kept, "Content-Type": "multipart/related; boundary=x"}
    return Request("POST", target, headers, parts)


def _leading_here(answer: Answer, request: Request) -> Answer:
    """Object descriptions with links to where they were asked for.

    The emulator keeps the host that an object was written by. That may be Google's own, by way of
    the TLS proxy, and a client that reads by such a link would leave this machine.
    """
    host = request.headers.get("Host")
    if not host or request.query.get("alt") == "media":
        return answer
    body = _MEDIA_LINK.sub(rb"\g<1>http://" + host.encode(), answer.body)
    return Answer(answer.status, answer.headers, body)


def _as_json(status: int, content: object) -> Answer:
    return Answer(status, {"Content-Type": "application/json"}, json.dumps(content).encode())


def _error(status: int, reason: str, message: str) -> Answer:
    errors = [{"domain": "global", "reason": reason, "message": message}]
    return _as_json(status, {"error": {"code": status, "message": message, "errors": errors}})


class GatewayHandler(BaseHTTPRequestHandler):
    """Speaks HTTP for a gateway."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    gateway: Gateway

    def serve(self) -> None:
        request = Request(self.command, self.path, self._headers(), self._body())
        fault = self.gateway.fault()
        answer = None
        if fault in (None, "cut after", "cut body"):
            answer = self.gateway.answer(request)
        elif isinstance(fault, int):
            answer = _error(fault, "backendError", "made up by the test")
        self._log(request, answer, fault)
        if fault == "silence":
            self.connection.recv(1)  # until the client gives up, and hangs up
        if answer is None or fault in ("cut before", "cut after"):
            self._cut()
            return
        self._send(answer, whole=fault != "cut body")

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = serve

    def _headers(self) -> dict[str, str]:
        return {key: value for key, value in self.headers.items() if key.lower() not in HOP}

    def _body(self) -> bytes:
        if "chunked" in (self.headers.get("Transfer-Encoding") or "").lower():
            return b"".join(self._chunks())
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().split(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass

    def _log(self, request: Request, answer: Answer | None, fault: int | str | None) -> None:
        self.gateway.calls.append(
            Call(
                request.method,
                request.bucket,
                request.name,
                request.query,
                self.headers.get("Range"),
                fault or (answer.status if answer else 0),
                len(answer.body) if answer else 0,
                len(request.body),
                request.uploading,
            )
        )

    def _send(self, answer: Answer, *, whole: bool) -> None:
        self.send_response_only(answer.status)
        for key, value in answer.headers.items():
            if key.lower() not in HOP:
                self.send_header(key, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        body = b"" if self.command == "HEAD" else answer.body
        if whole or len(body) < 2:
            self.wfile.write(body)
            self.wfile.flush()
            return
        self.wfile.write(body[: len(body) // 2])
        self._cut()

    def _cut(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing; the gateway keeps its own log."""


class QuietServer(ThreadingHTTPServer):
    """A server on loopback whose clients may hang up."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A cut connection is what we asked for."""


def serve_gateway(gateway: Gateway, port: int = 0) -> QuietServer:
    """Serves a gateway on loopback, in a thread of its own; shut it down at the end."""
    handler = type("Handler", (GatewayHandler,), {"gateway": gateway})
    server = QuietServer(("127.0.0.1", port), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
