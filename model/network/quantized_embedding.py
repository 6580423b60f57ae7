"""A table of vectors that stays in bytes, of which the rows in use may be trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from model.network.pooling import PACKAGE


@keras.saving.register_keras_serializable(package=PACKAGE)
class QuantizedEmbedding(keras.layers.Layer):
    """Vectors of ids from 1 on: byte · scale + least, each row by the values of its chunk.

    What training adds to a row lies in a matrix of its own, with a row for each that may be
    trained: gradients and the optimiser's state are as large as that, however large the table is.
    All other rows stay as they are, to the bit. Weight decay pulls trained rows back to where they
    began (Li et al. 2018, "Explicit inductive bias for transfer learning").
    """

    def __init__(
        self,
        rows: int,
        dimensions: int,
        chunks: int,
        trained_rows: Sequence[int] | np.ndarray | None = None,
        **kwargs: Any,
    ):
        """Takes the table's shape; row r belongs to chunk r mod `chunks`.

        `trained_rows` are the rows, from 0, that may be trained.
        """
        super().__init__(**kwargs)
        self.rows, self.dimensions, self.chunks = rows, dimensions, chunks
        self.trained_rows = [] if trained_rows is None else [int(row) for row in trained_rows]

    def build(self, shape):
        """Makes the table, still zeros, and the matrix of changes; see `fill`."""
        self.table = self._constant("table", (self.rows, self.dimensions), "uint8")
        self.scale = self._constant("scale", (self.chunks,), "float32")
        self.least = self._constant("least", (self.chunks,), "float32")
        self.changes = None
        if self.trained_rows:
            self.places = self._constant("places", (self.rows,), "int32")
            places = np.zeros(self.rows, np.int32)
            places[self.trained_rows] = 1 + np.arange(len(self.trained_rows))
            self.places.assign(places)
            size = (len(self.trained_rows), self.dimensions)
            self.changes = self.add_weight(shape=size, initializer="zeros", name="changes")

    def _constant(self, name: str, shape: tuple[int, ...], dtype: str) -> Any:
        return self.add_weight(
            shape=shape,
            dtype=dtype,
            initializer="zeros",
            trainable=False,
            autocast=False,
            name=name,
        )

    def fill(self, table: np.ndarray, scale: np.ndarray, least: np.ndarray) -> None:
        """Sets the bytes [rows, d], and each chunk's scale and least value [chunks]."""
        for weight, values in ((self.table, table), (self.scale, scale), (self.least, least)):
            weight.assign(values)

    def begin_with(self, other: QuantizedEmbedding) -> None:
        """Takes another's table, and its changes of rows that may be trained here too."""
        self.fill(other.table.numpy(), other.scale.numpy(), other.least.numpy())
        if self.changes is None:
            return
        changes = np.zeros(self.changes.shape, np.float32)
        place = {row: number for number, row in enumerate(self.trained_rows)}
        known = [(n, place[row]) for n, row in enumerate(other.trained_rows) if row in place]
        if known:
            old, new = np.array(known).T
            changes[new] = other.changes.numpy()[old]
        self.changes.assign(changes)

    def call(self, ids):
        """Ids, int32 [b, t] → [b, t, d]; id i is row i − 1, and padding, 0, is whatever comes."""
        rows = ops.maximum(ids - 1, 0)
        chunks = rows % self.chunks
        exact = ops.cast(ops.take(self.table, rows, axis=0), "float32")
        vectors = exact * ops.expand_dims(ops.take(self.scale, chunks), -1)
        vectors = vectors + ops.expand_dims(ops.take(self.least, chunks), -1)
        if self.changes is not None:
            places = ops.take(self.places, rows)
            changed = ops.cast(ops.expand_dims(places > 0, -1), "float32")
            changes = ops.take(self.changes, ops.maximum(places - 1, 0), axis=0)
            vectors = vectors + ops.cast(changes, "float32") * changed
        return ops.cast(vectors, self.compute_dtype)

    def compute_output_spec(self, ids):
        """Stated outright: a vector for each id."""
        return keras.KerasTensor((*ids.shape, self.dimensions), self.compute_dtype)

    def get_config(self):
        own = {"rows": self.rows, "dimensions": self.dimensions, "chunks": self.chunks}
        return {**super().get_config(), **own, "trained_rows": self.trained_rows}
