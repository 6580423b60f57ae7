"""A lock file, so that two runs do not write to one folder at the same time."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transforms.errors import UserError
from transforms.storage.files import is_local, reason

_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


@contextmanager
def lock(path: str, *, busy: str) -> Iterator[None]:
    """Holds a lock file for as long as this process lives; the system frees it if it dies.

    In a bucket there is nothing to hold: there the store itself lets one of two runs commit (see
    `files.create_bytes`).

    Raises:
        UserError: `busy`, where another process holds it, or the folder may not be written to.
    """
    if not is_local(path):
        yield
        return
    held = _take(path, busy)
    try:
        yield
    finally:
        _release(path, held)


def _release(path: str, held: int) -> None:
    Path(path).unlink(missing_ok=True)
    os.close(held)


def _take(path: str, busy: str) -> int:
    folder = Path(os.path.realpath(Path(path).parent))  # a link may name one that is to be made
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    except OSError as error:
        raise UserError(f"{folder} cannot be written to: {reason(error)}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise UserError(busy) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            os.close(descriptor)
            raise UserError(f"{folder} cannot be locked: {reason(error)}") from None
        # A network disk without locks, as in a bucket: the claim on the folder decides there.
    if _is_at(path, descriptor):
        return descriptor
    os.close(descriptor)  # its last holder deleted it after we had opened it
    return _take(path, busy)


def _is_at(path: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
