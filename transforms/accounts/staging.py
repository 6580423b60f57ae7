"""Folders that appear all at once: examples, reports, bundles, choices of pairs to label.

The rule is that of `claims`, with one more room. A run takes `OUTPUT.partial`, as a run of scoring
takes its output folder, and makes the new folder in there, in `_tmp/RUN`. Whoever takes it later
removes `_tmp` in one step. So a run that was superseded finds nothing to publish, whenever it wakes
up, and until the last moment what is in OUTPUT stays as it is.

`with claim_folder(output, overwrite=…) as staging`: write below `staging.folder`, then
`staging.publish(…)`, in the launcher or in a worker.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from transforms.accounts.claims import CLAIM, SHARDS_FOLDER, Claim, owner, take
from transforms.errors import RunError, UserError
from transforms.storage import files, local
from transforms.storage.lock import lock
from transforms.storage.publishing import publish_folder


@dataclass(frozen=True)
class Staging:
    """A folder in the making, and the run that makes it.

    Attributes:
        output: where it is to appear.
        run: the run's name, another one each time.
        replaces: what lay at the output when the run took it, by version, and goes; None where
            nothing may be there. A run never deletes what came later: that is its own attempt's.
    """

    output: str
    run: str
    replaces: Mapping[str, str] | None = field(default=None, repr=False)

    @property
    def claim(self) -> Claim:
        """What the run writes by."""
        return Claim(workshop(self.output), self.run)

    @property
    def folder(self) -> str:
        """Where to write."""
        return self.claim.scratch

    @property
    def scratch(self) -> str:
        """Where to write what is not to be published."""
        return files.join(self.folder, files.TEMPORARY_FOLDER)

    def publish(
        self,
        marks: Mapping[str, bytes],
        *,
        holds: Sequence[str],
        is_done: Callable[[], bool] = lambda: False,
    ) -> None:
        """Makes the folder appear under its final name, complete or not at all.

        Args:
            marks: small files that make it complete, in the order in which they are to appear.
            holds: names of what was written before: an attempt of this run that comes late finds
                an empty folder, since the first one has published it.
            is_done: whether an attempt of this run has published it; then all is well.

        Raises:
            RunError: another run has taken the folder.
        """

        def appear() -> None:
            for name, content in marks.items():
                self.claim.write(f"{files.TEMPORARY_FOLDER}/{self.run}/{name}", content)
            files.delete_folder(self.scratch)
            self._appear(self._set_aside(), last=list(marks), holds=holds)

        self._once(appear, is_done)

    def publish_copy(
        self, made: str, *, last: Sequence[str], is_done: Callable[[], bool] = lambda: False
    ) -> None:
        """The same for a folder that was made on this machine, and stays there.

        Args:
            made: the folder.
            last: names of the files that make it complete, in order.
            is_done: see `publish`.

        Raises:
            RunError: another run has taken the folder.
        """

        def appear() -> None:
            aside = f"{self.folder}-{uuid.uuid4().hex}"
            files.copy_tree(made, aside)
            self._appear(aside, last=last, holds=files.list_folder(made))

        self._once(appear, is_done)

    def _once(self, appear: Callable[[], None], is_done: Callable[[], bool]) -> None:
        try:
            appear()
        except RunError:
            if not is_done():
                raise
        self.discard()

    def _set_aside(self) -> str:
        """What was made, under a name that no other attempt of this run knows.

        Two attempts that swapped one folder with the output would put the old one back. In a bucket
        nothing is moved: there objects are copied on the condition that nothing else exists.
        """
        if not files.is_local(self.folder):
            return self.folder
        made = f"{self.folder}-{uuid.uuid4().hex}"
        try:
            local.rename(self.folder, made)
        except FileNotFoundError:
            raise self._gone(self.folder) from None
        return made

    def _appear(self, made: str, *, last: Sequence[str], holds: Sequence[str]) -> None:
        lacking = sorted({*last, *holds} - set(files.list_folder(made)))
        if lacking:
            raise self._gone(files.join(made, lacking[0]))
        # From here on the run reads the claim once, and then needs what is in `made`: who takes
        # the output later writes the claim first, and then removes what is in `made`.
        self.claim.check()
        try:
            publish_folder(made, self.output, last=last, replaces=self.replaces)
        except FileNotFoundError as error:
            raise self._gone(str(error.filename)) from None

    def _gone(self, path: str) -> RunError:
        self.claim.check()  # says that another run has taken the folder, if so
        return RunError(f"{path} is gone; {self.output} was not written")

    def discard(self) -> None:
        """Deletes what is left of the run, but nothing of one that has taken the folder since."""
        room = self.claim.folder
        files.delete_folder(self.folder)
        seen = files.versions(room)  # before the claim is read, as in `Claim.delete`
        if owner(room) == self.run:
            mine = f"{SHARDS_FOLDER}/{CLAIM}"
            files.delete_versions(room, {mine: seen[mine]} if mine in seen else {})
        for name in (files.TEMPORARY_FOLDER, SHARDS_FOLDER):
            files.delete_empty(files.join(room, name))
        files.delete_empty(room)


def workshop(output: str) -> str:
    """The folder beside an output in which it is made; beside what a link leads to."""
    if not files.is_local(output):
        return f"{output.rstrip('/')}.partial"
    folder = Path(output)
    if folder.is_symlink() or folder.name in ("", ".."):  # "" of `.`
        folder = Path(os.path.realpath(folder))
    return f"{folder}.partial"


def stage(output: str, *, overwrite: bool) -> Staging:
    """Takes an output over: the run that had it before can no longer publish anything.

    Args:
        output: the folder that is to appear.
        overwrite: whether it may replace existing content.
    """
    claim = take(workshop(output))
    assert claim.run is not None
    return Staging(output, claim.run, files.versions(output) if overwrite else None)


@contextmanager
def claim_folder(output: str, *, overwrite: bool) -> Iterator[Staging]:
    """Claims an output folder for a run; on this machine a lock keeps a second launcher away.

    Raises:
        UserError: another run is at work there, or it can be no folder.
    """
    files.check_may_be_folder(output)
    busy = f"{output} is being written by another run; wait for it, or choose another folder"
    with lock(f"{workshop(output)}.lock", busy=busy):
        staging = stage(output, overwrite=overwrite)
        try:
            yield staging
        except UserError:
            if not files.list_folder(staging.folder):  # nothing was begun: nothing is left behind
                staging.discard()
            raise
