"""Imports TensorFlow without what its C++ side says, and without packages that it need not load."""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
from pathlib import Path

from transforms.errors import RunError
from transforms.lean_imports import leaving_out, uncollected

# TensorFlow and Keras try these for helpers that nothing here calls, and do without them where they
# are not installed. Keras itself is imported by those who use it, which scoring is not.
LEFT_OUT = frozenset({"googleapiclient", "keras.src", "matplotlib", "pandas", "scipy", "sklearn"})


def import_tensorflow() -> None:
    """Imports TensorFlow and its text operations with the process's error output closed.

    It warns of missing drivers and of rounding that may differ, on every start, whatever
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
        with uncollected():
            with leaving_out(LEFT_OUT):
                import tensorflow

            register_text_operations()
            tensorflow.config.get_visible_devices()  # looks for a GPU, and warns of that too
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@functools.cache
def register_text_operations() -> None:
    """Lets graphs use TensorFlow Text's operations; its Python side would load Keras as well.

    Raises:
        RunError: TensorFlow Text is not installed.
    """
    import tensorflow as tf

    spec = importlib.util.find_spec("tensorflow_text")
    if spec is None or not spec.submodule_search_locations:
        raise RunError("TensorFlow Text is not installed; pip install tensorflow-text")
    operations = Path(spec.submodule_search_locations[0], "python", "ops")
    for library in sorted(operations.glob("*.so")):
        tf.load_library(str(library))
