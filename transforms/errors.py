"""The two kinds of error that people see, each reported in one line without a traceback."""

from __future__ import annotations


class UserError(ValueError):
    """Wrong use or unusable input: says what, where, what was expected and what to do. Exit 2."""


class RunError(RuntimeError):
    """The run itself failed although its input was usable. Exit 1."""


def one_line(error: object) -> str:
    """What an error says, in one line."""
    return " ".join(str(error).split())


def kind_and_line(error: Exception) -> str:
    """The kind of a library's error and the beginning of what it says, in one line."""
    return f"{type(error).__name__}: {one_line(error)[:200]}"
