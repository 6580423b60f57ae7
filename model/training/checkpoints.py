"""Checkpoints of a training run: everything it needs to resume as if it had never stopped."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from transforms.errors import UserError
from transforms.storage import files
from transforms.storage.local import PlainName

KEEP = 2
LATEST = "checkpoint"  # TensorFlow's file that names the last complete checkpoint


@dataclass(frozen=True)
class CheckpointOptions:
    """Where checkpoints go, and after how many steps or minutes."""

    folder: str
    every_steps: int | None = None
    every_minutes: float | None = 10

    def inside(self, name: str) -> CheckpointOptions:
        """The same in a folder of that name within it."""
        return replace(self, folder=files.join(self.folder, name))

    @property
    def begun(self) -> bool:
        """Whether there is a checkpoint to resume from."""
        return files.exists(files.join(self.folder, LATEST))


@dataclass
class Progress:
    """How far a run has come. `epoch` and `step` are the next to do, counted from 0."""

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0  # of this epoch's examples so far
    rows: float = 0.0  # examples of this epoch so far
    seconds: float = 0.0  # spent on this epoch so far
    best_epoch: int = -1
    history: list[dict] = field(default_factory=list)


class Checkpoints:
    """Saves and restores weights, optimizer, random state, best weights and progress.

    Every process restores; only the chief saves. `run` names what is being trained: a checkpoint
    of another recipe, seed, batch size or another set of examples is refused. Must be made outside
    of a strategy's scope: what it adds is this process's own.
    """

    def __init__(
        self,
        folder: str,
        *,
        variables: Sequence[keras.Variable],
        best: Sequence[np.ndarray],
        run: str,
        every_steps: int | None = None,
        every_minutes: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.folder = folder
        self._place = CheckpointFolder(folder)
        self._run = run
        self._best = [tf.Variable(value, trainable=False) for value in best]
        # Progress is a variable of the checkpoint, not a file beside it: weights and the place in
        # the data are always of the same moment.
        self._text = tf.Variable("", dtype=tf.string, trainable=False)
        self._checkpoint = tf.train.Checkpoint(
            variables=[variable.value for variable in variables], best=self._best, text=self._text
        )
        self._manager = tf.train.CheckpointManager(
            self._checkpoint, self._place.local, max_to_keep=KEEP
        )
        self._every_steps, self._every_seconds = every_steps, (every_minutes or 0) * 60
        self._clock, self._saved_at, self._steps = clock, clock(), 0

    def restore(self) -> tuple[Progress, list[np.ndarray]] | None:
        """Puts the last checkpoint's values into the variables; None where there is none.

        Raises:
            UserError: the folder holds the checkpoints of another run.
        """
        path = tf.train.latest_checkpoint(self._place.local)
        if path is None:
            return None
        # Read by itself first: the variables of another run may have other shapes, and restoring
        # them would fail half way.
        content = json.loads(_read_text(path))
        if content.pop("run") != self._run:
            raise UserError(
                f"--checkpoints {self.folder} holds a run with another recipe, seed, batch size "
                "or other examples; give an empty folder, or run with the same options"
            )
        # Without the assertion a variable that the file lacks would silently keep its first value.
        self._checkpoint.restore(path).assert_consumed()
        return Progress(**content), [value.numpy() for value in self._best]

    def due(self) -> bool:
        """Counts a step; true when the steps or minutes between two saves have passed."""
        self._steps += 1
        late = self._every_seconds and self._clock() - self._saved_at >= self._every_seconds
        return bool(late or (self._every_steps and self._steps >= self._every_steps))

    def save(self, progress: Progress, best: Sequence[np.ndarray]) -> None:
        """Writes a checkpoint; it counts only once it is complete."""
        self._text.assign(json.dumps({"run": self._run, **asdict(progress)}))
        for variable, value in zip(self._best, best, strict=True):
            variable.assign(value)
        path = self._manager.save()
        self._place.publish(path)
        self._saved_at, self._steps = self._clock(), 0


def open_checkpoints(
    options: CheckpointOptions,
    *,
    variables: Sequence[keras.Variable],
    best: Sequence[np.ndarray],
    run: str,
) -> Checkpoints:
    """The checkpoints that the options ask for."""
    return Checkpoints(
        options.folder,
        variables=variables,
        best=best,
        run=run,
        every_steps=options.every_steps,
        every_minutes=options.every_minutes,
    )


def stopped_message(place: str, kept: Checkpoints | None) -> str:
    """The message for a run that SIGTERM has stopped at a place."""
    if kept is None:
        return f"stopped by SIGTERM at {place}; without --checkpoints nothing is kept"
    return (
        f"stopped by SIGTERM at {place}; a checkpoint is in {kept.folder}, the same command "
        "resumes from it"
    )


def _read_text(path: str) -> str:
    reader = tf.train.load_checkpoint(path)
    return reader.get_tensor("text/.ATTRIBUTES/VARIABLE_VALUE").decode()


class CheckpointFolder:
    """TensorFlow writes to `local`; for a bucket that is a temporary folder, copied after a save.

    A folder on this machine may have another name for TensorFlow (see `PlainName`).
    `checkpoint` is copied after the files that it names, and what it does not name any more goes
    last. So whoever is killed while copying leaves the checkpoint before.
    """

    def __init__(self, folder: str):
        """Fetches what is in the folder."""
        self.folder = folder
        if files.is_local(folder):
            self._name = PlainName(folder, create=True)
            self.local = self._name.folder
        else:
            self._temporary = tempfile.TemporaryDirectory(prefix="twinbeam-checkpoints-")
            self.local = self._temporary.name
            files.copy_tree(folder, self.local)

    def publish(self, saved: str) -> None:
        """Copies the checkpoint just saved, `LOCAL/ckpt-N`, where the folder is in a bucket."""
        if files.is_local(self.folder):
            return
        local = {path.name for path in Path(self.local).iterdir()}
        for name in sorted(local):
            if name.startswith(f"{Path(saved).name}."):
                self._copy(name)
        self._copy(LATEST)
        gone = set(files.list_folder(self.folder)) - local
        files.delete([files.join(self.folder, name) for name in sorted(gone)])

    def _copy(self, name: str) -> None:
        files.write_bytes(files.join(self.folder, name), (Path(self.local) / name).read_bytes())
