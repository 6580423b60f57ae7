"""Makes a finished folder appear under its final name, complete or not at all."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

from transforms.errors import RunError
from transforms.storage import files, gcs


def publish_folder(
    source: str, target: str, *, last: Sequence[str], overwrite: bool = False
) -> None:
    """Makes `source` appear as `target`.

    On this machine the folder is renamed, and what was there before is deleted after that. A link
    stays, and the folder that it names is replaced; a mount point stays, and its content is
    replaced file by file, as in a bucket. A bucket has no folders to rename: objects are copied one
    by one, those in `last`, by which readers know a whole folder, after all others. Each is created
    on the condition that it is not there, so of two runs that publish to one place at the same time
    one is refused. Copying again what a died attempt has copied is harmless.

    Args:
        source: a finished folder.
        target: where it goes.
        last: names of the files that make it whole, in order.
        overwrite: whether what is at the target may be replaced.

    Raises:
        RunError: another run has written there.
    """
    if files.is_local(target):
        _publish_here(Path(source), Path(target).resolve(), last, overwrite)
        return
    if overwrite:
        remove_folder(target, last)
    names = [name for name in files.list_folder(source) if name not in last]
    try:
        for name in names[:1]:  # of two runs at once one ends here, not both half way
            _put(source, target, name)
        files.for_each(lambda name: _put(source, target, name), names[1:])
        _check_whole(source, target, names)
        for name in last:
            _put(source, target, name)
    except FileExistsError as error:
        raise RunError(
            f"{error.filename} {error.strerror}; choose another folder, or give --overwrite"
        ) from None


def _publish_here(source: Path, target: Path, last: Sequence[str], overwrite: bool) -> None:
    """The same on this machine; nothing is deleted before the new folder is in its place."""
    if target.is_dir() and any(target.iterdir()) and not overwrite:
        raise RunError(
            f"{target} was written by another run meanwhile; choose another folder, or give "
            "--overwrite"
        )
    if os.path.ismount(target):
        _fill(source, target, last)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.parent / f".{target.name}.{uuid.uuid4().hex}"
    new, old = beside.with_name(f"{beside.name}.new"), beside.with_name(f"{beside.name}.old")
    shutil.move(source, new)  # a copy, where the source is on another file system
    if target.is_dir():
        target.rename(old)
    new.rename(target)
    if old.exists():
        shutil.rmtree(old)


def _fill(source: Path, target: Path, last: Sequence[str]) -> None:
    """Replaces what a folder holds that cannot be renamed; what makes it complete comes last."""
    for path in sorted(target.iterdir(), key=lambda path: path.name not in last):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for path in sorted(source.iterdir(), key=lambda path: path.name in last):
        shutil.move(path, target / path.name)
    source.rmdir()


def remove_folder(folder: str, last: Sequence[str]) -> None:
    """Deletes a folder; first what makes it whole, so that nobody reads it meanwhile."""
    names = files.list_folder(folder)
    for name in reversed([name for name in last if name in names]):
        files.delete([files.join(folder, name)])
    files.delete([files.join(folder, name) for name in names if name not in last])


def _put(source: str, target: str, name: str) -> None:
    path = files.join(source, *name.split("/"))
    goal = files.join(target, *name.split("/"))
    if files.is_local(source):
        gcs.upload(path, goal)
    else:
        gcs.copy(path, goal, new=True)


def _check_whole(source: str, target: str, names: Sequence[str]) -> None:
    """Checks that all is there as it was copied: another run may have deleted or replaced it."""
    present = gcs.sums(target)
    if set(present) != set(names):
        odd = min(set(present) ^ set(names))
        raise FileExistsError(0, gcs.TAKEN, files.join(target, *odd.split("/")))
    if not files.is_local(source):
        wanted = gcs.sums(source)
        for name in names:
            if present[name] != wanted[name]:
                raise FileExistsError(0, gcs.TAKEN, files.join(target, *name.split("/")))
