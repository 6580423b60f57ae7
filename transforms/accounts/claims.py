"""Who may write in a folder of scores: one run at a time, and none once it has committed.

A run takes a folder by writing its name into `_shards/claim.json`; then it deletes what others have
in `_tmp/`. Whatever goes under a final name is written hidden first, in `_tmp/`; then the claim is
read; then the store copies or renames the hidden file, which it can do only while that is there.
So for a writer that another run has superseded there are two cases. It reads the claim after the
other took it: then it stops. Or it had read it before: then its hidden file was there before, and
the other deleted it, or its file got its final name before the other looked at what the folder
holds. To commit, a run first closes its claim in the same way, so that attempts of its own that
are still at work somewhere are late too. No lock is needed, so it holds in buckets and on network
disks.

A run that replaces another one's files leaves `_shards/replacing-RUN` from before it takes the
folder until it has deleted them. One that supersedes it meanwhile keeps none of the files that it
finds, as the other may still delete them; what it writes itself is another version, and stays.

How to use it: `claim = take(folder)`, carry it to the workers, write with `claim.write`, or with
`files.create_hidden` and `claim.reveal`; at the end `claim.close()`, tidy with `claim.delete`, and
`claim.publish` what makes the folder complete.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from transforms.errors import RunError
from transforms.storage import files

SHARDS_FOLDER = "_shards"
CLAIM = "claim.json"
_CLOSED = "closed-"
_REPLACING = "replacing-"


@dataclass(frozen=True)
class Claim:
    """A folder, and the run that writes there; without a run no other writer is kept out.

    Attributes:
        folder: the output folder.
        run: the run's name, another one each time.
    """

    folder: str
    run: str | None = None

    @property
    def scratch(self) -> str:
        """Where to write what is not needed once the run has ended or was superseded."""
        return files.join(self.folder, files.TEMPORARY_FOLDER, self.run or "")

    def check(self, *, closed: bool = False) -> None:
        """Checks that the folder is still this run's.

        Args:
            closed: whether the claim may be closed, as for the commit itself.

        Raises:
            RunError: another run has taken the folder, or this one has committed.
        """
        if self.run is None:
            return
        if owner(self.folder) != self.run:
            raise RunError(
                f"{self.folder} was taken over by another run, which began later; not committed"
            )
        if not closed and files.exists(self._closed()):
            raise RunError(f"{self.folder} is committed by this run already; this attempt is late")

    def reveal(self, hidden: str, name: str, *, new: bool = False, closed: bool = False) -> None:
        """Gives a hidden file its final name, while the folder is this run's.

        Raises:
            RunError: it is no longer.
            FileExistsError: with `new`, there is another file.
        """
        self.check(closed=closed)
        self._reveal(hidden, name, new=new, closed=closed)

    def _reveal(self, hidden: str, name: str, *, new: bool, closed: bool) -> None:
        try:
            files.reveal(hidden, files.join(self.folder, *name.split("/")), new=new)
        except RunError:
            self.check(closed=closed)  # the hidden file was deleted by who took the folder
            raise

    def write(self, name: str, content: bytes) -> None:
        """Writes a small file at once, while the folder is this run's."""
        self.reveal(self._stage(name, content), name)

    def close(self) -> None:
        """Ends the writing of shards: attempts that come later are refused, and tidied away."""
        self.check(closed=True)
        if self.run is not None:
            files.write_bytes(self._closed(), b"")
        files.delete_folder(files.join(self.folder, files.TEMPORARY_FOLDER))

    def delete(self, seen: Mapping[str, str]) -> None:
        """Deletes files, but those that were written since they were seen (see `files.versions`).

        They have to be seen before the claim is read, so that no other run's are among them.
        """
        self.check(closed=True)
        files.delete_versions(self.folder, seen)

    def publish(self, contents: Mapping[str, bytes], *, new: frozenset[str]) -> None:
        """Writes small files in their order, after the claim was closed.

        Args:
            contents: of each file, by its name.
            new: names under which nothing may exist, except the same content.

        Raises:
            RunError: the folder is another run's.
            FileExistsError: a file of `new` exists.
        """
        hidden = {name: self._stage(name, content) for name, content in contents.items()}
        self.check(closed=True)
        try:
            for name, path in hidden.items():
                self._reveal(path, name, new=name in new, closed=True)
        finally:
            files.delete(list(hidden.values()))
            files.delete_empty(files.join(self.folder, files.TEMPORARY_FOLDER))

    def _stage(self, name: str, content: bytes) -> str:
        hidden, file = files.create_hidden(self.folder, name)
        file.write(content)
        file.close()
        return hidden

    @property
    def replacing_mark(self) -> str:
        """Shows, while it exists, that this run deletes what another one finished."""
        return f"{SHARDS_FOLDER}/{_REPLACING}{self.run}"

    def _closed(self) -> str:
        return files.join(self.folder, SHARDS_FOLDER, f"{_CLOSED}{self.run}")


def owner(folder: str) -> str | None:
    """The run that has the folder."""
    path = files.join(folder, SHARDS_FOLDER, CLAIM)
    try:
        claim = files.read_json(path)
    except FileNotFoundError:
        return None
    return claim.get("run") if isinstance(claim, dict) else None


def take(folder: str, *, replacing: bool = False) -> Claim:
    """Takes a folder over: who wrote there before can reveal nothing any more.

    Args:
        folder: the output folder.
        replacing: whether the run is about to delete what another one finished.
    """
    claim = Claim(folder, uuid.uuid4().hex)
    if replacing:
        files.write_bytes(files.join(folder, *claim.replacing_mark.split("/")), b"")
    # First the claim, then the others' hidden files. A late writer checks the claim before it
    # reveals, so after this line it stops; if it had checked just before, its hidden file is gone
    # when it reveals, or has its final name before this run looks at the folder. In the other order
    # it could write a new hidden file in between, and reveal that.
    files.write_json(files.join(folder, SHARDS_FOLDER, CLAIM), {"run": claim.run})
    # Renamed before it is deleted, so that all of it is gone at one moment on this machine.
    aside = files.join(folder, SHARDS_FOLDER, f".{claim.run}")
    files.retire_folder(files.join(folder, files.TEMPORARY_FOLDER), aside)
    return claim


def is_replacing_mark(name: str) -> bool:
    """Whether a name below a folder is that of a mark that its files are being replaced."""
    return name.startswith(f"{SHARDS_FOLDER}/{_REPLACING}")


def is_closing_mark(name: str) -> bool:
    """Whether a name below a folder is that of a closed claim."""
    return name.startswith(f"{SHARDS_FOLDER}/{_CLOSED}")
