"""A SavedModel around a bundle's own: the same functions, with calibrated similarities."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tensorflow_text  # noqa: F401 (registers operations of the transform graph)

from model.calibration import Calibration


class CalibratedModule(tf.Module):
    """A bundle's functions; `score` and `compare` give calibrated similarities."""

    def __init__(self, saved_model: str, calibration: Calibration | None, threshold: float):
        """Opens the SavedModel of a bundle; `threshold` is of the calibrated similarity.

        Without a calibration only the threshold changes.
        """
        super().__init__()
        self.inner = tf.saved_model.load(saved_model)
        self.threshold = tf.Variable(threshold, trainable=False, dtype=tf.float32)
        self._calibration = calibration

    def signatures(self) -> dict[str, Any]:
        """Name → concrete function, with the inputs and outputs they had."""
        return {name: self._wrapped(name) for name in self.inner.signatures}

    def _wrapped(self, name: str) -> Any:
        inner = self.inner.signatures[name]
        inputs = inner.structured_input_signature[1]

        @tf.function(autograph=False)
        def call(**tensors: tf.Tensor) -> dict[str, tf.Tensor]:
            found = inner(**tensors)
            if "similarity" not in found:
                return found
            similar = found["similarity"]
            if self._calibration is not None:
                similar = self._calibration.graph(similar)
            label = tf.cast(similar >= self.threshold, tf.int64)
            return {**found, "similarity": similar, "label": label}

        specs = {key: tf.TensorSpec(spec.shape, spec.dtype, key) for key, spec in inputs.items()}
        return call.get_concrete_function(**specs)
