"""Scores sentence pairs: `twinbeam.load("bundle").score(table, "question", "answer")`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twinbeam.bundle import Bundle

__all__ = ["load"]


def load(bundle: str, *, threshold: float | None = None) -> Bundle:
    """Opens a bundle; it takes some seconds, most of them TensorFlow's.

    Args:
        bundle: its folder, local or `gs://`.
        threshold: the label is 1 from this similarity on; None takes the bundle's.

    Raises:
        transforms.errors.UserError: no bundle, or one that was changed; names the file.
    """
    from twinbeam.bundle import Bundle

    return Bundle(str(bundle), threshold)
