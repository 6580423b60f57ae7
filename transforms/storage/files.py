"""Paths and files, local or `gs://`: the one place that knows how they are found, read and written.

Paths in a bucket go through `gcs`, paths on this machine through Python's own calls (to
Beam's FileSystems a local name with `[`, `*` or `?` in it is a pattern), other stores through
Beam's. A file is written beside its final name and renamed, so a half-written one is never seen.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa

from transforms.errors import RunError, UserError
from transforms.storage import gcs, local
from transforms.storage.beam_stores import CompressionTypes, FileSystems
from transforms.storage.local import TAKEN
from transforms.threads import in_threads

TEMPORARY_FOLDER = "_tmp"
_PIECE = 8 << 20
_READ_TRIES = 10
_AT_ONCE = 16


def is_local(path: str) -> bool:
    """Whether the path is on this machine's file system."""
    return "://" not in path


def is_inside(path: str, folder: str) -> bool:
    """Whether a file is below a folder, however both are written."""
    if is_local(path) and is_local(folder):
        return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
    return path.startswith(folder.rstrip("/") + "/")


def check_may_be_folder(output: str) -> None:
    """Makes sure that an output is a folder, or can become one, before any work is done.

    Raises:
        UserError: it is a file, or a link without an end.
    """
    target = Path(os.path.realpath(output))
    if not is_local(output) or target.is_dir():
        return
    if target.is_symlink():  # what is left of links that lead to one another
        raise UserError(f"{output} is a link that leads to itself; give another folder")
    if target.exists():
        raise UserError(f"{output} is a file; expected a folder, or a new name")


def output_file(output: str) -> str:
    """Where a file that a person named is written: a link stays, and the file it names is replaced.

    Raises:
        UserError: it is a folder.
    """
    if not is_local(output):
        return output
    if Path(output).is_dir():
        raise UserError(f"{output} is a folder; expected the name of a file")
    return os.path.realpath(output) if Path(output).is_symlink() else output


def join(folder: str, *names: str) -> str:
    """The path of `names` below `folder`."""
    if is_local(folder):
        return os.path.join(folder, *names)
    return "/".join([folder.rstrip("/"), *names])


def reason(error: BaseException) -> str:
    """What an error says, in one line: the system's own words where it has any."""
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return reason.strip().partition("\n")[0].rstrip(". ")


def is_outage(error: BaseException) -> bool:
    """Whether the system or a bucket failed, and not what was read: only then it has a number."""
    return isinstance(error, OSError) and error.errno is not None


@contextmanager
def _writing(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, FileExistsError) and error.strerror == TAKEN:
            raise  # of a file that must be new: who asks for that answers it
        raise RunError(f"{path} cannot be written: {reason(error)}") from None


def exists(path: str) -> bool:
    """Whether a file (or, locally, a folder) exists."""
    if is_local(path):
        return Path(path).exists()
    return gcs.exists(path) if gcs.is_object(path) else FileSystems.exists(path)


def list_folder(folder: str) -> list[str]:
    """Names of all files below the folder, relative to it, sorted; empty where there is none."""
    prefix = folder.rstrip("/") + "/"
    if is_local(folder):
        return local.list_folder(folder)
    if gcs.is_object(folder):
        paths = [path for path, _ in gcs.list_objects(prefix)]
    else:
        paths = [match.path for match in FileSystems.match([prefix + "**"])[0].metadata_list]
    return sorted(path.removeprefix(prefix) for path in paths)


def versions(folder: str) -> dict[str, str]:
    """By name, what distinguishes each file below a folder from one written there since."""
    if gcs.is_object(folder):
        return {name: str(number) for name, number in gcs.generations(folder).items()}
    if is_local(folder):
        found = ((name, local.version(join(folder, name))) for name in list_folder(folder))
        return {name: version for name, version in found if version}
    return dict.fromkeys(list_folder(folder), "")


def delete_versions(folder: str, seen: Mapping[str, str]) -> None:
    """Deletes files below a folder, but those that were written since they were seen.

    Args:
        folder: where they are.
        seen: names, and their versions as `versions` gave them.
    """

    def delete_one(name: str) -> None:
        path = join(folder, *name.split("/"))
        if gcs.is_object(path):
            gcs.delete(path, generation=int(seen[name]))
        elif is_local(path):
            with _writing(path):
                local.delete_version(path, seen[name], aside)
        else:
            delete([path])

    aside = join(folder, TEMPORARY_FOLDER)
    for_each(delete_one, list(seen))
    delete_empty(aside)


def open_input(path: str) -> pa.NativeFile:
    """A seekable file for reading; on object storage it reads by range."""
    return open_version(path)[0]


def open_version(path: str) -> tuple[pa.NativeFile, str]:
    """Like `open_input`, with what distinguishes this content from another under the same name.

    On this machine that is the size and the time of the last change, in a bucket the size and the
    store's own CRC32C, elsewhere nothing.
    """
    if is_local(path):
        file = pa.OSFile(path)
        at = os.fstat(file.fileno())
        return file, f"{at.st_size}-{at.st_mtime_ns}"
    if gcs.is_object(path):
        reader, version = gcs.open_reader(path)
        return pa.PythonFile(reader), version
    opened = FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)
    return pa.PythonFile(opened), ""


def read_bytes(path: str) -> bytes:
    """The complete content of a small file, all of one version."""
    for _ in range(_READ_TRIES):
        try:
            with open_input(path) as file:
                return file.read()
        except FileExistsError:  # an object that was replaced between two calls
            continue
    raise RunError(f"{path} keeps being rewritten; it cannot be read")


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

    def abandon(self) -> None:
        """Forgets what was written, where the store can do that, and lets what follows be lost."""
        if isinstance(self._file, gcs.ObjectWriter):
            with _writing(self._path):
                self._file.abandon()
            self._file = io.BytesIO()

    @property
    def closed(self) -> bool:
        """Whether the file is closed."""
        return self._file.closed

    @property
    def sha256(self) -> str:
        """Hex digest of all that was written."""
        return self._hash.hexdigest()


def create_hidden(folder: str, name: str) -> tuple[str, HashingFile]:
    """Opens a new file under a unique name in the folder's temporary folder.

    Returns:
        Its path, to be given to `reveal` once it is closed, and the open file.
    """
    path = join(folder, TEMPORARY_FOLDER, f"{name.rpartition('/')[2]}.{uuid.uuid4().hex}")
    return path, HashingFile(_create(path), join(folder, *name.split("/")))


def reveal(hidden: str, path: str, *, new: bool = False) -> None:
    """Gives a finished hidden file its final name, in place of any file that had it.

    The hidden file must still exist: deleting it keeps it from being revealed (see
    `transforms.accounts.claims`).

    Args:
        hidden: where it was written.
        path: the final name.
        new: nothing may exist there, except the same content.

    Raises:
        FileExistsError: with `new`, something else is there.
    """
    with _writing(path):
        if is_local(path):
            local.reveal(hidden, path, new)
        elif gcs.is_object(path):
            try:
                gcs.copy(hidden, path, new=True)
            except FileExistsError:
                if new:
                    raise
                gcs.copy(hidden, path)
            gcs.delete(hidden)
        else:
            FileSystems.rename([hidden], [path])


def write_bytes(path: str, content: bytes) -> None:
    """Writes a small file beside its place and renames it; an object appears at once anyway."""
    if gcs.is_object(path):
        with _writing(path):
            gcs.write(path, content)
        return
    folder, _, name = path.rpartition("/")
    hidden = f"{folder}/.{name}.{uuid.uuid4().hex}" if folder else f".{name}.{uuid.uuid4().hex}"
    with _writing(path):
        with _open(hidden) as file:
            file.write(content)
        reveal(hidden, path)


def create_bytes(path: str, content: bytes) -> None:
    """Writes a small file that must not be there yet; the same content may be.

    In a bucket the store itself sees to it: of two runs that write at once, one is refused. On
    this machine a lock keeps the other run away (see `lock`).

    Raises:
        FileExistsError: another run has written it.
    """
    if not gcs.is_object(path):
        if exists(path) and read_bytes(path) != content:
            raise FileExistsError(errno.EEXIST, TAKEN, path)
        write_bytes(path, content)
        return
    with _writing(path):
        gcs.create(path, content)


def write_json(path: str, content: Any) -> None:
    """Writes a small JSON file at once, with an indent, for people too."""
    write_bytes(path, as_json(content))


def as_json(content: Any) -> bytes:
    """JSON as we write it."""
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def _create(path: str) -> BinaryIO:
    with _writing(path):
        return _open(path)


def _open(path: str) -> BinaryIO:
    if is_local(path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return open(path, "wb")
    if gcs.is_object(path):
        return cast(BinaryIO, gcs.ObjectWriter(path))
    return FileSystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED)


def delete(paths: Sequence[str]) -> None:
    """Deletes files, or local folders; missing ones are not an error."""
    for_each(gcs.delete, [path for path in paths if gcs.is_object(path)])
    for path in paths:
        if is_local(path):
            with _writing(path):
                local.delete(path)
    others = [path for path in paths if not is_local(path) and not gcs.is_object(path)]
    if present := [path for path in others if exists(path)]:
        FileSystems.delete(present)


def delete_folder(folder: str) -> None:
    """Deletes a folder with everything below it; a missing one is not an error."""
    if gcs.is_object(folder):
        below = gcs.list_objects(folder.rstrip("/") + "/", folders=True)
        delete([path for path, _ in below])
    else:
        delete([folder])


def retire_folder(folder: str, aside: str) -> None:
    """Deletes a folder so that nothing in it can be given a final name afterwards.

    Args:
        folder: its path; a missing one is not an error.
        aside: a unique name beside it, for what a local disk deletes one by one.
    """
    if is_local(folder):
        with _writing(folder):
            local.retire(folder, aside)
    else:
        delete_folder(folder)


def delete_empty(folder: str) -> None:
    """Deletes a local folder that holds nothing; buckets have no folders."""
    if is_local(folder):
        with suppress(OSError):
            os.rmdir(folder)


def for_each(do: Callable[[str], Any], names: Sequence[str]) -> None:
    """Many at once: a store answers slowly, not busily."""
    for _ in in_threads(do, names, min(_AT_ONCE, len(names))) if names else ():
        pass


def sha256_of(path: str) -> str:
    """Hex digest of a file, read in pieces."""
    digest = hashlib.sha256()
    with open_input(path) as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def copy_tree(source: str, target: str) -> None:
    """Copies all files below a folder to another folder."""

    def copy(name: str) -> None:
        path, goal = (join(folder, *name.split("/")) for folder in (source, target))
        with open_input(path) as source_file, closing(_create(goal)) as target_file, _writing(goal):
            while piece := source_file.read(_PIECE):
                target_file.write(piece)

    names = list_folder(source)
    if is_local(source):
        for name in names:
            copy(name)
    else:
        for_each(copy, names)


@contextmanager
def local_copy(folder: str) -> Iterator[str]:
    """The folder as a local one that TensorFlow can read: itself, or a copy that goes at the end.

    A local folder whose name TensorFlow would take for a pattern comes by another name.
    """
    if is_local(folder):
        with local.PlainName(folder) as plain:
            yield plain
        return
    with tempfile.TemporaryDirectory(prefix="twinbeam-") as copy:
        copy_tree(folder, copy)
        yield copy
