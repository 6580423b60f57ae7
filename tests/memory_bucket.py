"""A bucket in this process's memory, behind Google's client: generations, preconditions, ranges.

`tests/cloud` asks real servers on loopback; this one is for tests that want every branch at once.
"""

from __future__ import annotations

import base64
import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.api_core.exceptions import NotFound, PreconditionFailed

_POLYNOMIAL = 0x82F63B78  # Castagnoli's, its bits turned round


def crc32c(content: bytes) -> str:
    """The sum that the store keeps, bit by bit (RFC 3720, appendix B.4)."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (_POLYNOMIAL if crc & 1 else 0)
    return base64.b64encode(struct.pack(">I", crc ^ 0xFFFFFFFF)).decode()


@dataclass
class MemoryBuckets:
    """What the client's calls do; `calls` lists the changing ones, in order."""

    objects: dict[tuple[str, str], tuple[bytes, int]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    written: int = 0

    def bucket(self, name: str) -> Bucket:
        return Bucket(self, name)

    def list_blobs(self, bucket: str, prefix: str = "") -> list[Blob]:
        found = [Blob(self, key) for key in self.objects if key[0] == bucket]
        found = [blob for blob in reversed(found) if blob.name.startswith(prefix)]
        for blob in found:
            blob.reload()
        return found

    def content(self) -> dict[str, bytes]:
        """Each object by its path."""
        return {f"gs://{'/'.join(key)}": content for key, (content, _) in self.objects.items()}

    def put(self, key: tuple[str, str], content: bytes, match: int | None) -> None:
        self.check(key, match)
        self.written += 1
        self.objects[key] = (content, self.written)
        self.calls.append(f"write {key[1]}")

    def check(self, key: tuple[str, str], match: int | None) -> None:
        if match is not None and match != self.objects.get(key, (b"", 0))[1]:
            raise PreconditionFailed("the generation is another one")

    def take(self, key: tuple[str, str]) -> tuple[bytes, int]:
        if key not in self.objects:
            raise NotFound(key[1])
        return self.objects[key]


@dataclass
class Bucket:
    store: MemoryBuckets
    name: str

    def blob(self, name: str) -> Blob:
        return Blob(self.store, (self.name, name))


class Blob:
    """One object, as the client shows it."""

    def __init__(self, store: MemoryBuckets, key: tuple[str, str]):
        self.store, self.key, self.name = store, key, key[1]
        self.size = self.crc32c = self.generation = None

    def exists(self) -> bool:
        return self.key in self.store.objects

    def reload(self) -> None:
        content, self.generation = self.store.take(self.key)
        self.size, self.crc32c = len(content), crc32c(content)

    def download_as_bytes(
        self, *, start: int, end: int, if_generation_match: int, **_: Any
    ) -> bytes:
        content, generation = self.store.take(self.key)
        if generation != if_generation_match:
            raise PreconditionFailed("the generation is another one")
        return content[start : end + 1]

    def open(self, mode: str, **_: Any) -> Upload:
        assert mode == "wb"
        return Upload(self)

    def upload_from_string(
        self, content: bytes, kind: str, *, if_generation_match: int | None = None, retry: Any
    ) -> None:
        self.store.put(self.key, content, if_generation_match)

    def upload_from_filename(
        self, path: str, kind: str, *, if_generation_match: int | None = None, retry: Any
    ) -> None:
        self.store.put(self.key, Path(path).read_bytes(), if_generation_match)

    def rewrite(
        self, source: Blob, token: str | None, *, retry: Any, if_generation_match: int | None = None
    ) -> tuple[str | None, int, int]:
        """In two calls, as the store does it with large objects."""
        content, _ = self.store.take(source.key)
        if token is None:
            return "more", 0, len(content)
        self.store.put(self.key, content, if_generation_match)
        return None, len(content), len(content)

    def delete(self, *, retry: Any, if_generation_match: int | None = None) -> None:
        self.store.take(self.key)
        self.store.check(self.key, if_generation_match)
        del self.store.objects[self.key]
        self.store.calls.append(f"delete {self.name}")


class Upload(io.BytesIO):
    """A resumable upload: nothing is there until it ends."""

    def __init__(self, blob: Blob):
        super().__init__()
        self.blob = blob

    def close(self) -> None:
        if not self.closed:
            self.blob.store.put(self.blob.key, self.getvalue(), None)
        super().close()

    def terminate(self) -> None:
        super().close()


def fill(store: MemoryBuckets, files: dict[str, bytes]) -> None:
    """Puts objects there, each by its path `gs://BUCKET/NAME`."""
    for path, content in files.items():
        bucket, _, name = path.removeprefix("gs://").partition("/")
        store.put((bucket, name), content, None)


def below(store: MemoryBuckets, folder: str) -> Iterator[tuple[str, bytes]]:
    """Names below a folder, and contents."""
    prefix = folder.rstrip("/") + "/"
    for path, content in sorted(store.content().items()):
        if path.startswith(prefix):
            yield path.removeprefix(prefix), content
