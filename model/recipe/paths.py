"""Paths in a recipe: a folder, or one inside an installed Python package."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from transforms.errors import UserError

PACKAGE = "package:"


def resolve_path(path: str) -> str:
    """The path, with `package:NAME/FOLDER` as the folder in an installed Python package.

    Raises:
        UserError: the package is not installed.
    """
    if not path.startswith(PACKAGE):
        return path
    package, _, inside = path.removeprefix(PACKAGE).partition("/")
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise UserError(
            f"{path}: the Python package {package!r} is not installed; install it with "
            f"'pip install {package.replace('_', '-')}', or give the path of a folder"
        )
    return str(Path(spec.origin).parent / inside)
