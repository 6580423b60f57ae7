"""Vectors of sentences from a ready TensorFlow SavedModel, such as a Universal Sentence Encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from model.network.pooling import PACKAGE
from transforms.errors import UserError, kind_and_line
from transforms.storage.local import PlainName


@keras.saving.register_keras_serializable(package=PACKAGE)
class SavedModelVectors(keras.layers.Layer):
    """Calls a SavedModel from strings to vectors; its weights stay as they are."""

    def __init__(
        self,
        folder: str,
        dimensions: int | None,
        signature: str | None = None,
        output: str | None = None,
        **kwargs: Any,
    ):
        """Opens the model and tries it; see `parts.SavedModel`.

        Without `dimensions`, vectors keep their length.

        Raises:
            UserError: no such model, signature or output, or vectors of another length.
        """
        super().__init__(trainable=False, **kwargs)
        self.folder = folder
        self.signature, self.output_name = signature, output
        self.model = _open(folder)
        received = self._tried().shape
        self.dimensions = received[-1] if dimensions is None and received.rank else dimensions
        if self.dimensions is None or received != (1, self.dimensions):
            raise UserError(
                f"encoder.dimensions: {folder} makes of one sentence {received.as_list()}, "
                f"expected {[1, dimensions or 'd']}; set encoder.dimensions to fit"
            )

    def _tried(self) -> tf.Tensor:
        """The vectors of one sentence.

        Raises:
            UserError: the model takes or gives something else.
        """
        try:
            vectors = self._vectors(tf.constant(["a sentence"]))
        except UserError:
            raise
        except Exception as error:  # whatever a foreign model makes of it
            raise UserError(
                f"encoder.path {self.folder!r}: the model does not make vectors of sentences "
                f"({kind_and_line(error)})"
            ) from None
        if not np.isfinite(vectors).all():
            raise UserError(f"encoder.path {self.folder!r}: the model's vectors are no numbers")
        return vectors

    def call(self, sentences):
        """Strings [b] → float32 [b, dimensions]."""
        return tf.ensure_shape(self._vectors(sentences), [None, self.dimensions])

    def _vectors(self, sentences: tf.Tensor) -> tf.Tensor:
        outputs = self._function()(sentences)
        if isinstance(outputs, dict):
            outputs = outputs[self._output_of(outputs)]
        return tf.cast(outputs, tf.float32)

    def _function(self) -> Any:
        if self.signature is None and callable(self.model):
            return self.model
        name = self.signature or "serving_default"
        if name not in self.model.signatures:
            raise UserError(
                f"encoder.signature: {self.folder} has no signature {name!r}; it has: "
                f"{', '.join(self.model.signatures) or 'none'}"
            )
        function = self.model.signatures[name]
        arguments = function.structured_input_signature[1]
        if len(arguments) != 1:
            names = ", ".join(sorted(arguments))
            raise UserError(
                f"encoder.signature: {name!r} of {self.folder} takes {names}; "
                "expected one argument, sentences"
            )
        (argument,) = arguments
        return lambda sentences: function(**{argument: sentences})

    def _output_of(self, outputs: dict[str, tf.Tensor]) -> str:
        name = self.output_name or (next(iter(outputs)) if len(outputs) == 1 else "default")
        if name not in outputs:
            raise UserError(
                f"encoder.output: {self.folder} gives no {name!r}; it gives: "
                f"{', '.join(sorted(outputs))}"
            )
        return name

    def compute_output_spec(self, sentences):
        """Said outright: Keras cannot trace strings."""
        return keras.KerasTensor((*sentences.shape, self.dimensions), "float32")

    def get_config(self):
        return {
            **super().get_config(),
            "folder": self.folder,
            "dimensions": self.dimensions,
            "signature": self.signature,
            "output": self.output_name,
        }


def _open(folder: str) -> Any:
    if not (Path(folder) / "saved_model.pb").is_file():
        raise UserError(
            f"encoder.path {folder!r} holds no saved_model.pb; expected the folder of a "
            "TensorFlow SavedModel from strings to vectors"
        )
    try:
        with PlainName(folder) as plain:
            return tf.saved_model.load(plain)
    except Exception as error:  # whatever a foreign or damaged file makes of it
        raise UserError(
            f"encoder.path {folder!r}: TensorFlow cannot load it ({kind_and_line(error)})"
        ) from None
