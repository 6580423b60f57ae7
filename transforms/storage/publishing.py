"""Makes a finished folder appear under its final name, whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from transforms.errors import RunError
from transforms.storage import files, gcs


def publish_folder(
    source: str, target: str, *, last: Sequence[str], overwrite: bool = False
) -> None:
    """Makes `source` appear as `target`.

    On this machine the folder is renamed. A bucket has no folders to rename: objects are copied one
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
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        shutil.move(source, target)
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
    there = gcs.sums(target)
    if set(there) != set(names):
        odd = min(set(there) ^ set(names))
        raise FileExistsError(0, gcs.TAKEN, files.join(target, *odd.split("/")))
    if not files.is_local(source):
        wanted = gcs.sums(source)
        for name in names:
            if there[name] != wanted[name]:
                raise FileExistsError(0, gcs.TAKEN, files.join(target, *name.split("/")))
