"""Files on this machine, by their very names: no character of a name is a pattern here."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import tempfile
import uuid
from contextlib import suppress
from pathlib import Path

TAKEN = "was written by another run meanwhile"
# What file systems without hard links answer: FAT, some network and container file systems.
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS, errno.EXDEV}

_HERE, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux


class PlainName:
    """A folder under a name that TensorFlow does not take for a pattern: `[1]` is one to it.

    The name is a link in the temporary folder, and goes with this object or at the end of its
    `with` block.

    Attributes:
        folder: the folder itself where its own name will do, else the link.
    """

    def __init__(self, folder: str, *, create: bool = False):
        """With `create` the folder is made where it gets a link, which must lead somewhere."""
        self.folder = folder
        self._temporary = None
        if "[" in os.path.abspath(folder):  # a name with `*` or `?` matches itself
            self._temporary = tempfile.TemporaryDirectory(prefix="twinbeam-name-")
            self.folder = os.path.join(self._temporary.name, "folder")
            if create:
                os.makedirs(folder, exist_ok=True)
            os.symlink(os.path.abspath(folder), self.folder)

    def __enter__(self) -> str:
        return self.folder

    def __exit__(self, *_: object) -> None:
        if self._temporary is not None:
            self._temporary.cleanup()


def list_folder(folder: str) -> list[str]:
    """Names of all files below the folder, relative to it, sorted; empty where there is none."""
    found = []
    for above, _, names in os.walk(folder):
        below = os.path.relpath(above, folder)
        found += names if below == "." else [f"{below}/{name}" for name in names]
    return sorted(found)


def version(path: str) -> str | None:
    """What distinguishes a file from one written there since; None where there is none."""
    try:
        at = os.lstat(path)
    except FileNotFoundError:
        return None
    return f"{at.st_ino}-{at.st_size}-{at.st_mtime_ns}"


def reveal(hidden: str, path: str, new: bool) -> None:
    """Gives a hidden file its final name; with `new` nothing else may be there.

    Raises:
        FileExistsError: with `new`, there is a file with other content.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    if not new:
        os.replace(hidden, path)
        return
    try:
        os.link(hidden, path)  # fails where there is one; renaming would replace it
    except FileExistsError:
        if Path(path).read_bytes() != Path(hidden).read_bytes():
            raise FileExistsError(errno.EEXIST, TAKEN, path) from None
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if Path(path).exists():
            raise FileExistsError(errno.EEXIST, TAKEN, path) from None
        os.replace(hidden, path)
        return
    os.unlink(hidden)


def delete_version(path: str, seen: str, aside: str) -> None:
    """Deletes a file, unless it was written since it was seen as this `version`.

    To look and then to delete would be two steps, and another process may write between them. So
    the file is moved aside, in one step, and put back if it is not what was seen.
    """
    if version(path) != seen:
        return
    os.makedirs(aside, exist_ok=True)
    moved = os.path.join(aside, uuid.uuid4().hex)
    try:
        os.rename(path, moved)
    except FileNotFoundError:
        return
    if version(moved) not in (seen, None):
        with suppress(FileExistsError):  # the newest stays
            reveal(moved, path, new=True)
            return
    Path(moved).unlink(missing_ok=True)  # who has taken the folder empties it too


def rename(source: str, target: str) -> None:
    """Renames a folder; at the target is nothing, or an empty folder."""
    os.rename(source, target)


def swap(one: str, other: str) -> None:
    """Exchanges two folders in one step, so that at neither name there ever is nothing.

    Where the system cannot (Linux can, by renameat2 with RENAME_EXCHANGE), in two.

    Raises:
        FileNotFoundError: one of them is gone; the other is where it was.
    """
    try:
        exchange = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        exchange = None
    if exchange is not None:
        if exchange(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0:
            return
        code = ctypes.get_errno()
        if code not in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
            raise OSError(code, os.strerror(code), one)
    aside = f"{one}.{uuid.uuid4().hex}"
    os.rename(other, aside)
    try:
        os.rename(one, other)
    except OSError:
        os.rename(aside, other)
        raise
    os.rename(aside, one)


def retire(folder: str, aside: str) -> None:
    """Deletes a folder so that from one moment on nothing in it can be found by its name."""
    try:
        Path(aside).parent.mkdir(parents=True, exist_ok=True)
        os.rename(folder, aside)
    except FileNotFoundError:
        return
    delete(aside)


def delete(path: str) -> None:
    """Deletes a file, a folder or a link; a missing one is not an error."""
    if not os.path.isdir(path) or os.path.islink(path):
        Path(path).unlink(missing_ok=True)
        return
    while os.path.isdir(path):
        try:
            shutil.rmtree(path)
        except FileNotFoundError:  # another process deletes the same files
            continue
