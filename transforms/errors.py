"""The two kinds of error that people see, each reported in one line without a traceback."""

from __future__ import annotations


class UserError(ValueError):
    """Wrong use or unusable input: says what, where, what was expected and what to do. Exit 2."""


class RunError(RuntimeError):
    """The run itself failed although its input was usable. Exit 1."""
