"""The flags of Dataflow that are ours; no Beam is loaded for them."""

from __future__ import annotations

import argparse
import re

_ACCELERATOR = re.compile(r"[a-z][a-z0-9-]*:[1-9][0-9]*")


def add_flags(to: argparse.ArgumentParser) -> None:
    """Adds the flags of Dataflow that are ours."""
    group = to.add_argument_group("Dataflow")
    group.add_argument(
        "--accelerator",
        type=_accelerator,
        metavar="TYPE:COUNT",
        help="GPUs of each worker, such as nvidia-tesla-t4:1",
    )


def _accelerator(text: str) -> str:
    if not _ACCELERATOR.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"expected TYPE:COUNT such as nvidia-tesla-t4:1, received {text!r}"
        )
    return text
