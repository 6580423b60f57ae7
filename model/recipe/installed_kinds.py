"""Kinds that installed packages add to the table, by entry points. No TensorFlow."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points

from model.recipe.kind_rows import ComparisonKind, EncoderKind, LossKind
from model.recipe.kinds import KINDS
from transforms.errors import UserError

_PLACES = {EncoderKind: "encoder", ComparisonKind: "comparison", LossKind: "loss"}
GROUP = "twinbeam.kinds"


def add_installed(points: Iterable[EntryPoint] | None = None) -> None:
    """Adds the kinds of installed packages: entry points of the group `twinbeam.kinds`.

    Each names a row, an `EncoderKind`, `ComparisonKind` or `LossKind`, and is named as recipes
    shall name it. So a recipe's text never says what is imported: only what is installed is.

    Raises:
        UserError: names the entry point that cannot be loaded, is no row, or takes another's name.
    """
    for point in entry_points(group=GROUP) if points is None else points:
        try:
            row = point.load()
        except Exception as error:
            raise UserError(
                f"entry point {point.name!r} of {GROUP} ({point.value}) cannot be loaded: "
                f"{type(error).__name__}: {error}"
            ) from None
        place = next((place for kind, place in _PLACES.items() if isinstance(row, kind)), None)
        if place is None:
            raise UserError(
                f"entry point {point.name!r} of {GROUP} ({point.value}) is a {type(row).__name__}; "
                "expected an EncoderKind, a ComparisonKind or a LossKind of model.recipe.kind_rows"
            )
        if KINDS[place].setdefault(point.name, row) is not row:
            raise UserError(
                f"entry point {point.name!r} of {GROUP} ({point.value}) names a {place} that "
                "exists already; choose another name"
            )
