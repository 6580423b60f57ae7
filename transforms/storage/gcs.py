"""Objects of Google Cloud Storage, through Google's own client: its retries, ranges, preconditions.

An object appears complete when its upload ends, or not at all. Every call is one that may be made
twice, so the client retries them, with growing pauses, on 429, 5xx, timeouts and cut
connections (cloud.google.com/storage/docs/retry-strategy). Errors come out as `OSError`s.
"""

from __future__ import annotations

import base64
import errno
import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from transforms.errors import UserError
from transforms.storage.local import TAKEN

if TYPE_CHECKING:
    from google.cloud.storage import Blob, Client

SCHEME = "gs://"
EMULATOR = "STORAGE_EMULATOR_HOST"
CREDENTIALS_SECONDS = 2.0  # a machine of Google's own answers in milliseconds
SEARCH = "search for credentials"  # the name of its thread
NO_CREDENTIALS = (
    "no Google Cloud credentials were found, which gs:// and Dataflow need; run "
    "'gcloud auth application-default login', or set GOOGLE_APPLICATION_CREDENTIALS to a key file"
)
_CHUNK = 8 << 20  # of an upload; a failed one is sent again from its last whole chunk
_READ_AHEAD = 1 << 18
_CONNECTIONS = 32
_lock = threading.Lock()


def is_object(path: str) -> bool:
    """Whether the path is in a bucket."""
    return path.startswith(SCHEME)


def find_credentials() -> Any:
    """Google's application default credentials; None for an emulator, which needs none.

    Without any the library would look for a metadata server for half a minute. Where a file holds
    them there is no hurry: the library asks gcloud for its project, which may take seconds.

    Raises:
        UserError: there are none.
    """
    if os.environ.get(EMULATOR):
        return None
    import google.auth  # noqa: F401 (on a busy machine this takes longer than the search)

    found: list[Any] = []
    search = threading.Thread(target=_search_credentials, args=(found,), name=SEARCH, daemon=True)
    search.start()
    search.join(None if _in_a_file() else CREDENTIALS_SECONDS)
    if not found:
        raise UserError(NO_CREDENTIALS)
    if isinstance(found[0], Exception):
        raise UserError(f"{NO_CREDENTIALS} ({_line(found[0])})")
    return found[0]


def _in_a_file() -> bool:
    from google.auth._cloud_sdk import get_application_default_credentials_path

    named = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    return bool(named) or os.path.isfile(get_application_default_credentials_path())


def _search_credentials(found: list[Any]) -> None:
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError

    try:
        scopes = ["https://www.googleapis.com/auth/cloud-platform"]
        found.append(google.auth.default(scopes=scopes)[0])
    except DefaultCredentialsError as error:
        if os.environ.get("GOOGLE_APPLICATION_CREDENTIALS"):  # a file, but not a good one
            found.append(error)
    except (GoogleAuthError, OSError, ValueError) as error:
        found.append(error)


def _client() -> Client:
    """One client for the process, and for the emulator that the environment names."""
    with _lock:
        return _connect(os.environ.get(EMULATOR))


@lru_cache(maxsize=1)
def _connect(emulator: str | None) -> Client:
    from google.auth.credentials import AnonymousCredentials
    from google.auth.transport.requests import AuthorizedSession
    from google.cloud.storage import Client
    from requests.adapters import HTTPAdapter

    credentials = find_credentials() or AnonymousCredentials()
    session = AuthorizedSession(credentials)
    for scheme in ("https://", "http://"):  # the default keeps 10 connections, and says so
        session.mount(scheme, HTTPAdapter(pool_maxsize=_CONNECTIONS))
    return Client(project="none", credentials=credentials, _http=session)


def _retry() -> Any:
    """For every call: a request may be sent twice, which the client cannot know."""
    from google.cloud.storage.retry import DEFAULT_RETRY

    return DEFAULT_RETRY


def _blob(path: str) -> Blob:
    bucket, _, name = path.removeprefix(SCHEME).partition("/")
    return _client().bucket(bucket).blob(name)


@contextmanager
def _errors_named(path: str) -> Iterator[None]:
    """Turns the client's errors into the `OSError`s that files on a disk would give."""
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError
    from google.cloud.exceptions import GoogleCloudError
    from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
    from requests import RequestException

    known = (GoogleAPIError, GoogleAuthError, GoogleCloudError, RequestException)
    try:
        yield
    except (*known, InvalidResponse, DataCorruption) as error:
        raise _named_error(path, error) from None


def _named_error(path: str, error: Exception) -> OSError:
    code = getattr(error, "code", None) or getattr(
        getattr(error, "response", None), "status_code", None
    )
    if code == 404:
        return FileNotFoundError(errno.ENOENT, "not there", path)
    if code == 412:
        return FileExistsError(errno.EEXIST, TAKEN, path)
    if code in (401, 403) or type(error).__name__ == "RefreshError":
        return PermissionError(errno.EACCES, f"permission denied by Google: {_line(error)}", path)
    return OSError(errno.EIO, f"the bucket does not respond: {_line(error)}", path)


def _line(error: Exception) -> str:
    error = getattr(error, "cause", None) or error  # of giving up: what the last try met
    text = getattr(error, "message", None) or str(error) or type(error).__name__
    return str(text).strip().partition("\n")[0][:300]


class Listed(NamedTuple):
    """What a listing says of an object; `generation` is another one whenever it is written."""

    path: str
    size: int
    crc32c: str
    generation: int


def list_objects(prefix: str, *, folders: bool = False) -> list[tuple[str, int]]:
    """Paths and sizes of all objects whose path begins so, sorted.

    TensorFlow and consoles write empty objects `NAME/` for folders; they are left out, but with
    `folders`.
    """
    return [(one.path, one.size) for one in _listed(prefix) if folders or one.path[-1] != "/"]


def sums(folder: str) -> dict[str, str]:
    """The CRC32C that the store keeps of every object below a folder, by name below it."""
    return {name: one.crc32c for name, one in _below(folder).items()}


def generations(folder: str) -> dict[str, int]:
    """The generation of every object below a folder, by name below it."""
    return {name: one.generation for name, one in _below(folder).items()}


def _below(folder: str) -> dict[str, Listed]:
    prefix = folder.rstrip("/") + "/"
    listed = _listed(prefix)
    return {one.path.removeprefix(prefix): one for one in listed if one.path[-1] != "/"}


def _listed(prefix: str) -> list[Listed]:
    bucket, _, name = prefix.removeprefix(SCHEME).partition("/")
    with _errors_named(prefix):
        blobs = list(_client().list_blobs(bucket, prefix=name))
    return sorted(
        Listed(f"{SCHEME}{bucket}/{blob.name}", int(blob.size), blob.crc32c, int(blob.generation))
        for blob in blobs
    )


def sum_of(content: bytes) -> str:
    """The CRC32C of some bytes, as the store writes it."""
    import google_crc32c

    return base64.b64encode(google_crc32c.Checksum(content).digest()).decode()


def exists(path: str) -> bool:
    """Whether an object exists."""
    with _errors_named(path):
        return _blob(path).exists()


class ObjectReader(io.RawIOBase):
    """Reads an object by range; all reads are of the one generation that was there at first."""

    def __init__(self, path: str):
        """Asks for the object's size.

        Raises:
            FileNotFoundError: it is not there.
        """
        self._path = path
        self._blob = _blob(path)
        self._at = 0
        with _errors_named(path):
            self._blob.reload()
        self._size, self._generation = int(self._blob.size), self._blob.generation

    @property
    def version(self) -> str:
        """What distinguishes this content from another: its CRC32C, which the store keeps."""
        return f"{self._size}-{self._blob.crc32c}"

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """The place of the next read."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves the place of the next read."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = start + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Reads as much as the buffer holds, in one call."""
        content = self._read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def readall(self) -> bytes:
        """Reads the rest, in one call."""
        return self._read(self._size - self._at)

    def _read(self, size: int) -> bytes:
        end = min(self._at + size, self._size)
        if end <= self._at:
            return b""
        with _errors_named(self._path):
            content = self._blob.download_as_bytes(
                start=self._at, end=end - 1, if_generation_match=self._generation,
                checksum=None, raw_download=True, retry=_retry(),
            )  # fmt: skip
        self._at += len(content)
        return content


def open_reader(path: str) -> tuple[BinaryIO, str]:
    """A seekable file that fetches what is read, and a little ahead; and its version."""
    reader = ObjectReader(path)
    return io.BufferedReader(reader, _READ_AHEAD), reader.version


class ObjectWriter:
    """A resumable upload: the object appears when it is closed, and not at all if abandoned."""

    def __init__(self, path: str):
        self._path = path
        with _errors_named(path):
            self._file = _blob(path).open(
                "wb", chunk_size=_CHUNK, ignore_flush=True, retry=_retry()
            )

    def write(self, data: Any) -> int:
        """Sends complete chunks, and keeps the rest."""
        with _errors_named(self._path):
            return self._file.write(data)

    def flush(self) -> None:
        """Nothing: the store accepts complete chunks only."""

    def close(self) -> None:
        """Sends the rest; the object then exists."""
        with _errors_named(self._path):
            self._file.close()

    def abandon(self) -> None:
        """Forgets what was sent."""
        with _errors_named(self._path):
            self._file.terminate()

    @property
    def closed(self) -> bool:
        """Whether it was closed or abandoned."""
        return self._file.closed


def write(path: str, content: bytes) -> None:
    """Writes a small object, in place of any that was there."""
    with _errors_named(path):
        _blob(path).upload_from_string(content, "application/octet-stream", retry=_retry())


def create(path: str, content: bytes) -> None:
    """Writes a small object that must not be there; the same content may be.

    Raises:
        FileExistsError: there is one with other content. Of two that try, one gets this.
    """
    try:
        with _errors_named(path):
            _blob(path).upload_from_string(
                content, "application/octet-stream", if_generation_match=0, retry=_retry()
            )
    except FileExistsError:
        _check_same(path, sum_of(content))  # what a call sent that was cut, and sent again


def upload(local: str, path: str) -> None:
    """Like `create`, from a local file of any size."""
    try:
        with _errors_named(path):
            _blob(path).upload_from_filename(
                local, "application/octet-stream", if_generation_match=0, retry=_retry()
            )
    except FileExistsError:
        import google_crc32c

        digest = google_crc32c.Checksum()
        with open(local, "rb") as file:
            for _ in digest.consume(file, _CHUNK):
                pass
        _check_same(path, base64.b64encode(digest.digest()).decode())


def copy(source: str, target: str, *, new: bool = False) -> None:
    """Copies an object inside the store; with `new` the target must not be there, as in `create`.

    Raises:
        FileNotFoundError: the source is not there.
        FileExistsError: the target is, and differs.
    """
    try:
        with _errors_named(source):
            condition = {"if_generation_match": 0} if new else {}
            token, start, goal = None, _blob(source), _blob(target)
            while True:
                token, _, _ = goal.rewrite(start, token=token, retry=_retry(), **condition)
                if token is None:
                    return
    except FileExistsError:
        with _errors_named(source):
            start.reload()
        _check_same(target, start.crc32c)


def _check_same(path: str, crc32c: str) -> None:
    with _errors_named(path):
        existing = _blob(path)
        existing.reload()
    if existing.crc32c != crc32c:
        raise FileExistsError(errno.EEXIST, TAKEN, path)


def delete(path: str, *, generation: int | None = None) -> None:
    """Deletes an object; a missing one, or one of another generation, is not an error.

    Args:
        path: of the object.
        generation: only this one is deleted; an object written since stays.
    """
    condition = {} if generation is None else {"if_generation_match": generation}
    try:
        with _errors_named(path):
            _blob(path).delete(retry=_retry(), **condition)
    except (FileNotFoundError, FileExistsError):  # the latter: a precondition that does not hold
        pass
