"""Input files, found by patterns, local or `gs://`."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transforms.errors import UserError
from transforms.storage import files, gcs
from transforms.storage.beam_stores import FileSystem, FileSystems

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
    if files.is_local(pattern) and Path(pattern).is_file():  # the name may hold [, ] or *
        return [(pattern, Path(pattern).stat().st_size)]
    _refuse_folder(pattern, files.is_local(pattern) and Path(pattern).is_dir())
    try:
        if gcs.is_object(pattern):
            return _match_objects(pattern)
        if files.is_local(pattern):
            return [(path, Path(path).stat().st_size) for path in _match_local(pattern)]
        matches = FileSystems.match([pattern])[0].metadata_list
    except UserError:
        raise
    except (ValueError, OSError) as error:  # no such file system, or it does not answer
        raise UserError(f"--input {pattern!r} cannot be listed: {files.reason(error)}") from None
    return [(match.path, match.size_in_bytes) for match in matches]


def _match_local(pattern: str) -> list[str]:
    found = glob.iglob(pattern, recursive=True)
    return [path for path in found if not Path(path).is_dir()]


def _refuse_folder(pattern: str, is_folder: bool) -> None:
    if is_folder:
        raise UserError(
            f"--input {pattern!r} is a folder, expected files: {pattern.rstrip('/')}/*.parquet"
        )


def _match_objects(pattern: str) -> list[tuple[str, int]]:
    """As Beam matches: `*` and `?` within a folder's names, `**` across folders."""
    wildcard = _WILDCARD.search(pattern)
    listed = gcs.list_objects(pattern[: wildcard.start()] if wildcard else pattern)
    exact = [file for file in listed if file[0] == pattern]
    if exact or wildcard is None:
        _refuse_folder(
            pattern, not exact and any(path.startswith(f"{pattern}/") for path, _ in listed)
        )
        return exact
    fits = re.compile(FileSystem.translate_pattern(pattern)).match
    return [file for file in listed if fits(file[0])]


def _name(path: str, pattern: str) -> str:
    wildcard = _WILDCARD.search(pattern)
    if wildcard is None or path == pattern:
        return path.rpartition("/")[2]
    folder = pattern[: wildcard.start()].rpartition("/")[0]
    return path.removeprefix(folder).lstrip("/").replace("/", "__")
