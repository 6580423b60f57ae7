"""Makes a finished folder appear under its final name, complete or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from transforms.errors import RunError
from transforms.storage import files, gcs, local


def publish_folder(
    source: str, target: str, *, last: Sequence[str], replaces: Mapping[str, str] | None = None
) -> None:
    """Makes `source` appear as `target`.

    On this machine the folder is renamed, or swapped with the old one, which is deleted after that.
    A link stays, and the folder that it names is replaced; a mount point stays, as does the current
    folder, and its content is replaced file by file, as in a bucket. A bucket has no folders to
    rename: objects are copied one by one, those in `last`, by which readers recognise a complete
    folder, after all others. Each is created only if it does not exist, so of two runs that publish
    to one place at the same time one is refused. Copying again what a died attempt has copied is
    harmless.

    Args:
        source: a finished folder; on this machine on the target's file system.
        target: where it goes.
        last: names of the files that make it complete, in order.
        replaces: files at the target that go, and their versions (see `files.versions`); None
            where nothing may be there.

    Raises:
        RunError: another run has written there.
        FileNotFoundError: the source is gone.
    """
    if files.is_local(target):
        _publish_here(Path(source), Path(os.path.realpath(target)), last, replaces)
        return
    _remove(target, last, replaces or {})
    names = [name for name in files.list_folder(source) if name not in last]
    try:
        for name in names[:1]:  # of two runs at once one ends here, not both half way
            _put(source, target, name)
        files.for_each(lambda name: _put(source, target, name), names[1:])
        _check_complete(source, target, names, last)
        for name in last:
            _put(source, target, name)
    except FileExistsError as error:
        raise RunError(
            f"{error.filename} {error.strerror}; choose another folder, or give --overwrite"
        ) from None


def _publish_here(
    source: Path, target: Path, last: Sequence[str], replaces: Mapping[str, str] | None
) -> None:
    """The same on this machine; nothing is deleted before the new folder is in its place."""
    taken = RunError(
        f"{target} was written by another run meanwhile; choose another folder, or give --overwrite"
    )
    if os.path.ismount(target) or Path.cwd().is_relative_to(target):
        if replaces is None and any(target.iterdir()):
            raise taken
        _fill(source, target, last, replaces or {})
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if replaces is not None and target.is_dir():
        local.swap(str(source), str(target))
        local.delete(str(source))  # what was at the target
        return
    try:
        local.rename(str(source), str(target))  # onto nothing, or an empty folder
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise taken from None
        raise


def _fill(source: Path, target: Path, last: Sequence[str], replaces: Mapping[str, str]) -> None:
    """Replaces what a folder holds that cannot be renamed; what makes it complete comes last."""
    _remove(str(target), last, replaces)
    for path in sorted(source.iterdir(), key=lambda path: path.name in last):
        if (target / path.name).is_dir():
            shutil.rmtree(target / path.name)  # empty folders: their files were deleted
        shutil.move(path, target / path.name)
    source.rmdir()


def _remove(folder: str, last: Sequence[str], seen: Mapping[str, str]) -> None:
    """Deletes files; first those that make a folder complete, so that no reader takes it."""
    for name in reversed([name for name in last if name in seen]):
        files.delete_versions(folder, {name: seen[name]})
    files.delete_versions(folder, {name: seen[name] for name in seen if name not in last})


def _put(source: str, target: str, name: str) -> None:
    path = files.join(source, *name.split("/"))
    goal = files.join(target, *name.split("/"))
    if files.is_local(source):
        gcs.upload(path, goal)
    else:
        gcs.copy(path, goal, new=True)


def _check_complete(source: str, target: str, names: Sequence[str], last: Sequence[str]) -> None:
    """Checks that everything exists as it was copied: another run may have deleted or replaced it.

    It may have deleted what was copied as well; then it is not known whose files these are.
    """
    present = gcs.sums(target)
    if odd := sorted((set(present) - set(last)) ^ set(names)):
        raise FileExistsError(0, gcs.TAKEN, files.join(target, *odd[0].split("/")))
    if not files.is_local(source):
        wanted = gcs.sums(source)
        for name in names:
            if present[name] != wanted.get(name):
                raise FileExistsError(0, gcs.TAKEN, files.join(target, *name.split("/")))
