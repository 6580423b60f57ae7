"""Imports of large libraries, without what they need not load and without collecting garbage.

A start is mostly imports. Some load packages for the sake of helpers that nothing here calls, and
do without them where they are not installed; and the garbage collector looks again and again at
hundreds of thousands of objects that all stay.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder

# Beam's connectors to BigQuery and Pub/Sub.
BEAM_WITHOUT = frozenset({"google.cloud.bigquery", "google.cloud.pubsub"})


def import_beam() -> None:
    """Imports Beam without connectors that are not used here."""
    if "apache_beam" not in sys.modules:
        with uncollected(), leaving_out(BEAM_WITHOUT):
            import apache_beam  # noqa: F401


@contextmanager
def uncollected() -> Iterator[None]:
    """Holds the garbage collector until the block ends; what was made in it counts as old then.

    Else the next collection would go through all of it, as if it had just come.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            if not gc.get_freeze_count():  # who has frozen something wants it to stay so
                gc.freeze()
                gc.unfreeze()
            gc.enable()


@contextmanager
def leaving_out(names: frozenset[str]) -> Iterator[None]:
    """Makes packages and modules as if not installed, for imports of this thread that come within.

    What has been imported before stays, and who imports them afterwards gets them.
    """
    finder = _NotInstalled(names)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _NotInstalled(MetaPathFinder):
    def __init__(self, names: frozenset[str]):
        self._names = names
        self._thread = threading.get_ident()

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: object = None) -> None:
        parts = fullname.split(".")
        for end in range(1, len(parts) + 1):
            name = ".".join(parts[:end])
            if name in self._names:
                break
        else:
            return
        # Another thread may want them; and half of a package that is there would be worse than all.
        if name not in sys.modules and threading.get_ident() == self._thread:
            raise ModuleNotFoundError(f"{fullname} is left out of this import", name=fullname)
