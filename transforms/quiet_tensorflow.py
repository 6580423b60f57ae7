"""Imports TensorFlow without what its C++ side says, and without packages that it need not load."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder

# Keras, which TensorFlow imports, tries these for the sake of helpers that nothing here calls, and
# does without them where they are not installed. They are over a third of the time of the import.
LEFT_OUT = frozenset({"matplotlib", "pandas", "scipy", "sklearn"})


def import_tensorflow() -> None:
    """Imports TensorFlow and its text operations with the process's error output closed.

    It tells of drivers that are not there and rounding that may differ, on every start, whatever
    TF_CPP_MIN_LOG_LEVEL says; a person at a terminal takes that for a mistake of theirs.
    """
    if "tensorflow" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        with leaving_out(LEFT_OUT):
            import tensorflow
            import tensorflow_text  # noqa: F401

        tensorflow.config.get_visible_devices()  # looks for a GPU, and tells of that too
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@contextmanager
def leaving_out(packages: frozenset[str]) -> Iterator[None]:
    """Makes packages as if not installed, for imports of this thread that come within.

    What has been imported before stays, and who imports them afterwards gets them.
    """
    finder = _NotInstalled(packages)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _NotInstalled(MetaPathFinder):
    def __init__(self, packages: frozenset[str]):
        self._packages = packages
        self._thread = threading.get_ident()

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: object = None) -> None:
        package = fullname.partition(".")[0]
        # Another thread may want them; and half of a package that is there would be worse than all.
        if package not in self._packages or package in sys.modules:
            return
        if threading.get_ident() == self._thread:
            raise ModuleNotFoundError(f"{fullname} is left out of this import", name=fullname)
