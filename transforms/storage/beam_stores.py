"""Beam's file systems, loaded when a path needs them: Beam takes seconds."""

from __future__ import annotations

from importlib import import_module
from typing import Any


class _Lazy:
    """Stands for a class of Beam's until something of it is used."""

    def __init__(self, module: str, name: str):
        """Remembers where the class is."""
        self._place = module, name

    def __getattr__(self, wanted: str) -> Any:
        module, name = self._place
        return getattr(getattr(import_module(module), name), wanted)


FileSystems: Any = _Lazy("apache_beam.io.filesystems", "FileSystems")
FileSystem: Any = _Lazy("apache_beam.io.filesystem", "FileSystem")
CompressionTypes: Any = _Lazy("apache_beam.io.filesystem", "CompressionTypes")
