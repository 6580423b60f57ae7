"""A bundle that works with the first floats of its vectors only: `score --dimensions`."""

from __future__ import annotations

import numpy as np

from model.scoring.batch_encoder import BundleFunctions
from transforms.errors import UserError


class ShortVectors:
    """The functions of a bundle, with vectors cut to their first floats.

    What is kept and compared is a part of what it was; encoding costs what it did.
    """

    def __init__(self, encoder: BundleFunctions, dimensions: int):
        """`dimensions` is one of those that the bundle was trained for."""
        self._encoder = encoder
        self.dimensions = dimensions
        self.padding_changes_bits = encoder.padding_changes_bits
        self.reads_text = encoder.reads_text
        self.packed = encoder.packed

    def tokenize(self, sentences: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As the bundle."""
        return self._encoder.tokenize(sentences)

    def encode_ids(self, ids: np.ndarray) -> np.ndarray:
        """Ids, int32 [b, t] → vectors [b, dimensions]."""
        return self._encoder.encode_ids(ids)[:, : self.dimensions]

    def encode(self, sentences: np.ndarray) -> np.ndarray:
        """Sentences [n] → vectors [n, dimensions]."""
        return self._encoder.encode(sentences)[:, : self.dimensions]

    def compare(self, u: np.ndarray, v: np.ndarray) -> dict[str, np.ndarray]:
        """Vectors [n, dimensions] of both sides → as the bundle."""
        return self._encoder.compare(u, v)


def check_dimensions(manifest: dict, dimensions: int | None) -> None:
    """Refuses a number of floats that a bundle's vectors cannot be cut to.

    Raises:
        UserError: names those that they can.
    """
    if dimensions is None:
        return
    shorter = manifest.get("shorter") or {}
    if str(dimensions) not in shorter:
        known = ", ".join(shorter) or "none: its recipe's loss has no matryoshka"
        raise UserError(f"--dimensions {dimensions}: the bundle's vectors can be cut to {known}")


def short_threshold(manifest: dict, dimensions: int | None) -> float | None:
    """The threshold that was chosen for this many floats; None for all of them."""
    return None if dimensions is None else manifest["shorter"][str(dimensions)]
