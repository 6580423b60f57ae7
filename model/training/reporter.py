"""What training shows: a progress bar or plain lines, a line an epoch, JSON lines, TensorBoard."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import tensorflow as tf
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from transforms.storage import files

PLAIN_SECONDS = 30  # between two plain lines in an epoch


class Reporter:
    """Reports the progress of training to people and machines; that of a worker is silent."""

    def __init__(
        self,
        *,
        silent: bool = False,
        log_json: str | None = None,
        tensorboard: str | None = None,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._silent, self._clock = silent, clock
        self._console = console or Console(file=sys.stdout, soft_wrap=True, highlight=False)
        self._json = log_json if not silent else None
        self._writer = (
            tf.summary.create_file_writer(tensorboard) if tensorboard and not silent else None
        )
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} steps  {task.fields[rate]:.0f} pairs/s"),
            TextColumn("loss {task.fields[loss]:.4f}"),
            TimeRemainingColumn(compact=True),
            console=self._console,
            transient=True,
            disable=silent or not self._console.is_terminal,
        )

    def __enter__(self) -> Reporter:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        if self._writer:
            self._writer.close()

    def line(self, text: str) -> None:
        """One line for people."""
        if not self._silent:
            self._console.print(text, markup=False)

    def begin_epoch(self, epoch: int, epochs: int, step: int, steps: int) -> None:
        """`epoch` from 1, and the step it resumes from."""
        self._name, self._steps, self._first = f"{epoch}/{epochs}", steps, step
        self._began = self._reported = self._clock()
        for task in self._bar.task_ids:
            self._bar.remove_task(task)
        self._task = self._bar.add_task(
            "", total=steps, completed=step, epoch=self._name, rate=0, loss=0
        )

    def step(self, done: int, rows: float, loss: float) -> None:
        """`done` steps of the epoch, `rows` pairs since its begin here, mean loss so far."""
        if self._silent:
            return
        now = self._clock()
        spent = max(now - self._began, 1e-9)
        self._bar.update(self._task, completed=done, rate=rows / spent, loss=loss)
        if self._bar.disable and now - self._reported >= PLAIN_SECONDS:
            self._reported = now
            left = spent / max(done - self._first, 1) * (self._steps - done)
            self.line(
                f"epoch {self._name}: step {done}/{self._steps}, loss {loss:.4f}, "
                f"{rows / spent:.0f} pairs/s, {left:.0f} s left"
            )

    def end_epoch(self, record: dict, epochs: int) -> None:
        """The epoch's record: a line, a JSON line and TensorBoard scalars."""
        if self._silent:
            return
        numbers = {name: value for name, value in record.items() if name != "epoch"}
        self.line(
            f"epoch {record['epoch']}/{epochs}: "
            + ", ".join(f"{name} {_short(value)}" for name, value in numbers.items())
        )
        if self._json:
            _append(self._json, json.dumps(record) + "\n")
        if self._writer:
            with self._writer.as_default():
                for name, value in numbers.items():
                    tf.summary.write(name, float(value), record["epoch"], _scalar())
            self._writer.flush()


def _append(path: str, line: str) -> None:
    """Adds a line to a file; one in a bucket cannot be appended to, so it is written again."""
    if files.is_local(path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a", encoding="utf-8") as file:
            file.write(line)
        return
    before = files.read_bytes(path) if files.exists(path) else b""
    files.write_bytes(path, before + line.encode())


def _scalar() -> tf.compat.v1.SummaryMetadata:
    """What makes a tensor a scalar to TensorBoard; `tf.summary.scalar` would need it installed."""
    metadata = tf.compat.v1.SummaryMetadata(data_class=1)
    metadata.plugin_data.plugin_name = "scalars"
    return metadata


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
