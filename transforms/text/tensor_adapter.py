"""Makes TensorFlow Text known where tf.Transform loads a graph that uses it."""

from __future__ import annotations

import tensorflow_text  # noqa: F401
from tfx_bsl.tfxio.tensor_adapter import TensorAdapterConfig


class TextAdapterConfig(TensorAdapterConfig):
    """A plain `TensorAdapterConfig` from a module that imports TensorFlow Text.

    tf.Transform's own steps carry it, and to unpickle it is to import this module. A worker of a
    cluster may have no other reason to: without it the graph's operations are "not registered".
    """
