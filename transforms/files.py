"""Paths and files, local or `gs://`: the one place that knows how they are found, read and written.

Everything goes through Beam's FileSystems, but for local reads, where Arrow opens the file itself.
A file is written beside its final name and renamed, so a half-written one is never seen.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from transforms.errors import RunError, UserError

TEMPORARY_FOLDER = "_tmp"
_WILDCARD = re.compile(r"[*?\[]")


@dataclass(frozen=True, order=True)
class FoundFile:
    """A file that a pattern matched.

    Attributes:
        path: where it is.
        size: bytes.
        name: its path below the fixed part of the pattern, with `/` written as `__`; what its
            outputs are named after, so that they do not depend on where the folder stands.
    """

    path: str
    size: int
    name: str


def is_local(path: str) -> bool:
    """Whether the path is on this machine's file system."""
    return "://" not in path


def is_inside(path: str, folder: str) -> bool:
    """Whether a file lies below a folder, however both are written."""
    if is_local(path) and is_local(folder):
        return Path(path).resolve().is_relative_to(Path(folder).resolve())
    return path.startswith(folder.rstrip("/") + "/")


def join(folder: str, *names: str) -> str:
    """The path of `names` below `folder`."""
    return FileSystems.join(folder, *names)


def find(patterns: Sequence[str]) -> list[FoundFile]:
    """The files that the patterns match, each once, sorted by path.

    Raises:
        UserError: a pattern matches nothing.
    """
    found: dict[str, FoundFile] = {}
    for pattern in patterns:
        matched = _match(pattern)
        if not matched:
            raise UserError(
                f"--input {pattern!r} matches no file; expected the path of a Parquet file or a "
                "pattern such as 'data/*.parquet' (in quotes, so that the shell leaves it alone)"
            )
        for path, size in matched:
            found.setdefault(path, FoundFile(path, size, _name(path, pattern)))
    return sorted(found.values())


def _match(pattern: str) -> list[tuple[str, int]]:
    if is_local(pattern) and Path(pattern).is_file():  # the name may hold [, ] or *
        return [(pattern, Path(pattern).stat().st_size)]
    if is_local(pattern) and Path(pattern).is_dir():
        raise UserError(
            f"--input {pattern!r} is a folder, expected files: {pattern.rstrip('/')}/*.parquet"
        )
    try:
        matches = FileSystems.match([pattern])[0].metadata_list
    except (ValueError, OSError) as error:  # no such file system, or it does not answer
        raise UserError(f"--input {pattern!r} cannot be listed: {reason(error)}") from None
    return [(match.path, match.size_in_bytes) for match in matches]


def reason(error: BaseException) -> str:
    """What an error says, in one line: the system's own words where it has any."""
    told = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return told.strip().partition("\n")[0].rstrip(". ")


@contextmanager
def _writing(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(f"{path} cannot be written: {reason(error)}") from None


def _name(path: str, pattern: str) -> str:
    wildcard = _WILDCARD.search(pattern)
    if wildcard is None or path == pattern:
        return path.rpartition("/")[2]
    folder = pattern[: wildcard.start()].rpartition("/")[0]
    return path.removeprefix(folder).lstrip("/").replace("/", "__")


def exists(path: str) -> bool:
    """Whether a file (or, locally, a folder) is there."""
    return FileSystems.exists(path)


def list_folder(folder: str) -> list[str]:
    """Names of all files below the folder, relative to it, sorted; empty where there is none."""
    prefix = folder.rstrip("/") + "/"
    if is_local(folder):
        root = Path(folder)
        return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir())
    matches = FileSystems.match([prefix + "**"])[0].metadata_list
    return sorted(match.path.removeprefix(prefix) for match in matches)


def open_input(path: str) -> pa.NativeFile:
    """A seekable file for reading; on object storage it reads by range."""
    if is_local(path):
        return pa.OSFile(path)
    return pa.PythonFile(FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED))


def read_bytes(path: str) -> bytes:
    """The whole content of a small file."""
    with open_input(path) as file:
        return file.read()


def read_json(path: str) -> Any:
    """The content of a small JSON file.

    Raises:
        UserError: it is not JSON.
    """
    try:
        return json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error}); it was changed or cut") from None


class HashingFile:
    """A file to write to that keeps the sha256 and the size of what went through it."""

    def __init__(self, file: BinaryIO, path: str):
        """Wraps a file opened for writing in binary mode, and what to call it in an error."""
        self._file = file
        self._path = path
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: Any) -> int:
        """Writes bytes and counts them in."""
        self._hash.update(data)
        self.size += len(data)
        with _writing(self._path):
            self._file.write(data)
        return len(data)

    def flush(self) -> None:
        """Passes on to the file."""
        with _writing(self._path):
            self._file.flush()

    def close(self) -> None:
        """Passes on to the file."""
        with _writing(self._path):
            self._file.close()

    @property
    def closed(self) -> bool:
        """Whether the file is closed."""
        return self._file.closed

    @property
    def sha256(self) -> str:
        """Hex digest of all that was written."""
        return self._hash.hexdigest()


def create_hidden(folder: str, name: str) -> tuple[str, HashingFile]:
    """Opens a new file under a name of its own in the folder's temporary folder.

    Returns:
        Its path, to be given to `reveal` once it is closed, and the open file.
    """
    path = join(folder, TEMPORARY_FOLDER, f"{name.replace('/', '__')}.{uuid.uuid4().hex}")
    return path, HashingFile(_create(path), join(folder, *name.split("/")))


def reveal(hidden: str, path: str) -> None:
    """Gives a finished hidden file its final name, in place of any file that had it."""
    with _writing(path):
        if is_local(path):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(hidden).replace(path)
        else:
            FileSystems.rename([hidden], [path])


def write_bytes(path: str, content: bytes) -> None:
    """Writes a small file whole: beside, then renamed."""
    folder, _, name = path.rpartition("/")
    hidden = f"{folder}/.{name}.{uuid.uuid4().hex}" if folder else f".{name}.{uuid.uuid4().hex}"
    with _writing(path):
        with _open(hidden) as file:
            file.write(content)
        reveal(hidden, path)


def write_json(path: str, content: Any) -> None:
    """Writes a small JSON file whole, with an indent, for people too."""
    write_bytes(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def _create(path: str) -> BinaryIO:
    with _writing(path):
        return _open(path)


def _open(path: str) -> BinaryIO:
    if is_local(path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    return FileSystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED)


def delete(paths: Sequence[str]) -> None:
    """Deletes files and folders; those that are not there are no error."""
    there = [path for path in paths if exists(path)]
    if there:
        FileSystems.delete(there)


def sha256_of(path: str) -> str:
    """Hex digest of a file, read in pieces."""
    digest = hashlib.sha256()
    with open_input(path) as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def copy_tree(source: str, target: str) -> None:
    """Copies all files below a folder to another folder."""
    for name in list_folder(source):
        path, copy = (join(folder, *name.split("/")) for folder in (source, target))
        with open_input(path) as reading, _writing(copy), _create(copy) as writing:
            while piece := reading.read(1 << 22):
                writing.write(piece)


def publish_folder(local: str, target: str, *, last: Sequence[str] = ()) -> None:
    """Makes a finished local folder appear as `target`, whole or not at all.

    On this machine the folder is renamed. Object storage has no rename for folders: the files
    are copied, those named in `last` after all others, so readers that ask for them first never
    see half a folder.
    """
    if is_local(target):
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        shutil.move(local, target)
        return
    names = list_folder(local)
    for name in [name for name in names if name not in last] + [n for n in last if n in names]:
        write_bytes(join(target, *name.split("/")), (Path(local) / name).read_bytes())


@contextmanager
def local_copy(folder: str) -> Iterator[str]:
    """The folder as a local one: itself where it is local, else a copy that goes at the end."""
    if is_local(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="twinbeam-") as copy:
        copy_tree(folder, copy)
        yield copy
