"""The same command again: it does nothing where all is done, and says what differs where it is not.

What a run was made from (its options, and a fingerprint of each input) is kept with what it made,
under `made_from`; a later run is compared with that.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from transforms.errors import RunError, UserError
from transforms.storage import files

MADE_FROM = "made_from"
INPUTS = "inputs"
_SHOWN = 24  # characters of an option's value in a line


def made_from(options: Mapping[str, Any], inputs: Mapping[str, str]) -> dict[str, Any]:
    """What is kept: plain JSON, whatever the number of inputs.

    Args:
        options: those that decide what is made, by the names of their flags.
        inputs: each input and its fingerprint.
    """
    together = hashlib.sha256(json.dumps(sorted(inputs.items())).encode()).hexdigest()[:32]
    # Through JSON and back, so that it equals what a later run reads: tuples have become lists.
    kept: dict[str, Any] = json.loads(json.dumps({**options, INPUTS: together}, default=str))
    return kept


def is_done(output: str, before: Any, now: Mapping[str, Any], *, overwrite: bool) -> bool:
    """Whether what is to be made exists already; prints that.

    Args:
        output: its name in messages.
        before: what the existing one was made from; None where it is unknown.
        now: what it would be made from.
        overwrite: it is to be made again in any case.

    Raises:
        UserError: it was made from something else; names what differs.
    """
    if overwrite or not isinstance(before, dict):
        return False
    check_same(output, before, now, or_else=", or give --overwrite to make it again")
    print(f"{output} is complete already: same inputs and options", flush=True)
    return True


def check_same(
    output: str, before: Mapping[str, Any], now: Mapping[str, Any], *, or_else: str = ""
) -> None:
    """Checks that the existing one was made from the same as what is to be made.

    Raises:
        UserError: names what differs.
    """
    if before == now:
        return
    differing = ", ".join(
        _difference(name, before, now)
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    )
    raise UserError(
        f"{output} was made with other options or inputs ({differing}); "
        f"choose another --output{or_else}"
    )


def check_made(path: str, key: str, wanted: Any) -> None:
    """Checks that a job that was waited for has left what this run was to make.

    Args:
        path: a JSON file that it has left.
        key: under which it says what it was made from.
        wanted: what it should say.

    Raises:
        RunError: it is not there, or was made from something else.
    """
    content = files.read_json(path) if files.exists(path) else {}
    if content.get(key) != wanted:
        found = "is of another run" if content else "is not there"
        raise RunError(
            f"{path} {found}, though the job has ended; run again, or choose another folder"
        )


def _difference(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    old, new = (_short(each.get(name)) for each in (before, now))
    if name == INPUTS or old is None or new is None:
        return "the inputs have changed" if name == INPUTS else f"--{name}"
    return f"--{name} {old}, now {new}"


def _short(value: Any) -> str | None:
    """A value as typed; None if it would say nothing in a line."""
    if isinstance(value, list) and not any(isinstance(each, list | dict) for each in value):
        value = " ".join(map(str, value))
    if value is None or isinstance(value, dict | list):
        return "none" if value is None else None
    return str(value) if len(str(value)) <= _SHOWN else None
