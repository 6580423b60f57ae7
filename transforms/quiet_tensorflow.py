"""Imports TensorFlow without what its C++ side says before its log can be turned down."""

from __future__ import annotations

import os
import sys


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
        import tensorflow
        import tensorflow_text  # noqa: F401

        tensorflow.config.get_visible_devices()  # looks for a GPU, and tells of that too
    finally:
        os.dup2(kept, 2)
        os.close(kept)
