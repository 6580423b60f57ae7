"""SIGTERM, by which a machine says it is about to be taken away, heard as a wish."""

from __future__ import annotations

import signal
import threading
from types import TracebackType
from typing import Any


class SigtermFlag:
    """While entered, SIGTERM only sets `wanted`: the loop saves and ends at the next step."""

    def __init__(self) -> None:
        self.wanted = False
        self._before: Any = None

    def __enter__(self) -> SigtermFlag:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._notice)
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    def _notice(self, *_: object) -> None:
        self.wanted = True
