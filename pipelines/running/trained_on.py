"""Which input files a bundle was trained on: what it says of their pairs is what it remembers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transforms import drift
from transforms.storage import files

TRAINED_ON = "trained_on"  # in a bundle's metrics.json: input files and their fingerprints
INPUTS_SEEN = "inputs_trained_on"  # in the manifest of scores: the names of such files
METRICS = "metrics.json"


def read_metrics(bundle: str) -> dict[str, Any]:
    """What is known of a bundle; nothing where it has no such file."""
    path = files.join(bundle, METRICS)
    found: dict[str, Any] = files.read_json(path) if files.exists(path) else {}
    return found


def inputs_trained_on(metrics: Mapping[str, Any], inputs: Mapping[str, str]) -> list[str]:
    """The names of those input files that a bundle was trained on.

    Args:
        metrics: see `read_metrics`.
        inputs: files by name, with fingerprints; a file that was moved has the one that it had.
    """
    known: Mapping[str, str] = metrics.get(TRAINED_ON, {})
    fingerprints = set(known.values())
    return [name for name, mark in inputs.items() if name in known or mark in fingerprints]


def format_seen(names: Sequence[str]) -> str:
    """A line that says so."""
    others = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
    return (
        f"the bundle was trained on {names[0]}{others}: its similarities there say how well it "
        "remembers, not how good it is"
    )


def rows_trained_on(manifest: Mapping[str, Any]) -> int:
    """How many rows of a run's scores come from files that its bundle was trained on."""
    seen = set(manifest.get(INPUTS_SEEN, ()))
    scored = (file for file in manifest.get("files", ()) if file.get("source") in seen)
    return sum(file["rows"] for file in scored if not file["name"].startswith("_"))


def trained_profile(metrics: Mapping[str, Any]) -> drift.Profile:
    """What a bundle's metrics keep of its training data; nothing in bundles without it."""
    profile: drift.Profile = metrics.get("profile", {})
    return profile
