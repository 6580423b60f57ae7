"""Input files, found by paths, folders and patterns, local or `gs://`.

A folder is read as a data set: all files below it, but what begins with `_` or `.`, which is where
engines keep marks and sums (`_SUCCESS`, `_metadata`, `.part-0.crc`). The same holds for folders
that a pattern matches, such as Spark's and Dask's `pairs.parquet/`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from transforms.errors import UserError
from transforms.storage import files, gcs
from transforms.storage.beam_stores import FileSystems

_WILDCARD = re.compile(r"[*?\[]")
_HIDDEN = ("_", ".")


@dataclass(frozen=True)
class FoundFile:
    """A file that was named, is in a folder, or was matched by a pattern.

    Attributes:
        path: where it is.
        size: bytes; None if it is unknown.
        below: its path below the folder that was named, or the fixed part of the pattern; what its
            outputs are named after, so that they do not depend on where the folder is.
    """

    path: str
    size: int | None
    below: str

    @property
    def name(self) -> str:
        """`below` as one name, with `/` written as `__`."""
        return self.below.replace("/", "__")


def find(patterns: Sequence[str | FoundFile]) -> list[FoundFile]:
    """The files that the patterns match, each once, sorted by path.

    Args:
        patterns: paths, folders, patterns, and files that are known to be there: those are not
            looked for, as to ask a bucket for each of very many would take hours.

    Raises:
        UserError: a pattern matches nothing.
    """
    found: dict[str, FoundFile] = {}
    for pattern in patterns:
        matched = [pattern] if isinstance(pattern, FoundFile) else _match(pattern)
        if not matched:
            raise UserError(
                f"--input {pattern!r} matches no file; expected the path of a Parquet file, a "
                "folder of them, or a pattern such as 'data/*.parquet' (in quotes, so that the "
                "shell leaves it alone); names that begin with _ or . are skipped"
            )
        for file in matched:
            found.setdefault(_identity(file.path), file)
    return sorted(found.values(), key=lambda file: (file.path, file.below))


def has_wildcard(pattern: str) -> bool:
    """Whether it may match no file, or several."""
    return _WILDCARD.search(pattern) is not None


def _identity(path: str) -> str:
    """The same for all ways to write a path."""
    return os.path.realpath(path) if files.is_local(path) else path


def _match(pattern: str) -> list[FoundFile]:
    try:
        if files.is_local(pattern):
            return _match_local(pattern)
        if gcs.is_object(pattern):
            return _match_objects(pattern)
        return _match_elsewhere(pattern)
    except UserError:
        raise
    except (ValueError, OSError) as error:  # no such file system, or it does not answer
        raise UserError(f"--input {pattern!r} cannot be listed: {files.reason(error)}") from None


@dataclass(frozen=True)
class _Pattern:
    """A pattern, cut where its first wildcard's folder begins.

    `*` and `?` stay within a folder's names, `**` crosses folders.
    """

    text: str

    @property
    def start(self) -> str:
        wildcard = _WILDCARD.search(self.text)
        assert wildcard is not None
        return "".join(self.text[: wildcard.start()].rpartition("/")[:2])

    @property
    def rest(self) -> list[str]:
        return self.text.removeprefix(self.start).split("/")

    def fits(self, path: str) -> bool:
        return re.fullmatch(_as_regex(self.text), path, re.S) is not None

    def may_lead(self, below: str) -> bool:
        """Whether files that fit may lie in a folder, given by its path below `start`."""
        names = below.split("/")
        if any("**" in part for part in self.rest):
            return True
        fit = (
            re.fullmatch(_as_regex(part), name, re.S)
            for part, name in zip(self.rest, names, strict=False)
        )
        return len(names) < len(self.rest) and all(fit)

    def takes(self, path: str) -> bool:
        """Whether a file fits, or is in a folder that does, and is not hidden."""
        below = path.removeprefix(self.start)
        if _is_hidden(below) and not any(part.startswith(_HIDDEN) for part in self.rest):
            return False
        ends = [match.start() for match in re.finditer("/", below)]
        folders = (self.start + below[:end] for end in ends)
        return self.fits(path) or any(map(self.fits, folders))


_TOKEN = re.compile(r"\*\*/|\*\*|\*|\?|\[[!^]?\]?[^\]]*\]|.", re.S)
_WILD = {"**/": r"(?:.*/)?", "**": r".*", "*": r"[^/]*", "?": r"[^/]"}


@cache
def _as_regex(pattern: str) -> str:
    def translate(token: str) -> str:
        if token in ("[]", "[!]", "[^]"):  # sets of nothing: plain characters, as for the shell
            return re.escape(token)
        if token in _WILD:
            return _WILD[token]
        if len(token) == 1:
            return re.escape(token)
        inside = token[1:-1].replace("\\", r"\\").replace("[", r"\[")
        return f"[^{inside[1:]}]" if inside[0] in "!^" else f"[{inside}]"

    found = "".join(map(translate, _TOKEN.findall(pattern)))
    try:
        re.compile(found)
    except re.error as error:
        raise UserError(
            f"--input {pattern!r} is not a pattern ({error.msg}); expected one such as "
            "'data/[a-z]*.parquet'"
        ) from None
    return found


def _is_hidden(below: str) -> bool:
    *folders, file = below.split("/")
    return _hides(file) or any(_hides(name) and not _is_partition(name) for name in folders)


def _hides(name: str) -> bool:
    return name.startswith(_HIDDEN)


def _is_partition(folder: str) -> bool:
    """Whether `_day=1` is a column, as Spark has it, and no folder of marks."""
    return folder.startswith("_") and "=" in folder


def _match_local(pattern: str) -> list[FoundFile]:
    if Path(pattern).is_file():  # the name may hold [, ] or *
        return [_local(pattern, Path(pattern).name)]
    if Path(pattern).is_dir():
        folder = pattern.rstrip("/") + "/"
        below = (path.removeprefix(folder) for path in _walk(folder, lambda _: True))
        return [_local(folder + name, name) for name in below if not _is_hidden(name)]
    if _WILDCARD.search(pattern) is None:
        return []
    how = _Pattern(pattern)
    if not Path(how.start or ".").is_dir():
        return []

    def enter(folder: str) -> bool:
        inside = folder.removeprefix(how.start)
        return how.may_lead(inside) or how.takes(folder)

    paths = filter(how.takes, _walk(how.start, enter))
    return [_local(path, path.removeprefix(how.start)) for path in paths]


def _local(path: str, below: str) -> FoundFile:
    return FoundFile(path, Path(path).stat().st_size, below)


def _walk(start: str, enter: Callable[[str], bool]) -> Iterator[str]:
    """The files below a folder, links followed, but no link to a folder that contains it."""
    waiting = [(start, frozenset([os.path.realpath(start or ".")]))]
    while waiting:
        folder, above = waiting.pop()
        with os.scandir(folder or ".") as entries:
            for entry in entries:
                path = folder + entry.name
                if not entry.is_dir():
                    if entry.is_file():
                        yield path
                elif enter(path) and (real := os.path.realpath(path)) not in above:
                    waiting.append((path + "/", above | {real}))


def _match_objects(pattern: str) -> list[FoundFile]:
    how = _Pattern(pattern) if _WILDCARD.search(pattern) else None
    listed = gcs.list_objects(how.start if how else pattern)
    if exact := [(path, size) for path, size in listed if path == pattern]:  # it may hold [ or *
        return _objects(exact, pattern.rpartition("/")[0] + "/")
    if how:
        return _objects(((path, size) for path, size in listed if how.takes(path)), how.start)
    folder = pattern.rstrip("/") + "/"
    inside = [(path, size) for path, size in listed if path.startswith(folder)]
    shown = ((path, size) for path, size in inside if not _is_hidden(path.removeprefix(folder)))
    return _objects(shown, folder)


def _objects(found: Iterable[tuple[str, int]], start: str) -> list[FoundFile]:
    return [FoundFile(path, size, path.removeprefix(start)) for path, size in found]


def _match_elsewhere(pattern: str) -> list[FoundFile]:
    """As Beam lists other stores, such as S3 or HDFS; folders need a pattern."""
    listed = [(match.path, match.size_in_bytes) for match in _listed(pattern)]
    if _WILDCARD.search(pattern) is None:
        return [FoundFile(path, size, path.rpartition("/")[2]) for path, size in listed]
    how = _Pattern(pattern)
    return _objects(((path, size) for path, size in listed if how.takes(path)), how.start)


def _listed(pattern: str) -> Sequence[Any]:
    found: Sequence[Any] = FileSystems.match([pattern])[0].metadata_list
    return found
