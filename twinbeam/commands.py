"""The commands by name: what each does, and where its flags and its work are.

No command is imported before it is wanted: to list them, to show help and to complete words in a
shell takes neither Beam nor TensorFlow.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module

from transforms.lean_imports import import_beam, uncollected


@dataclass(frozen=True)
class Command:
    """A command.

    Attributes:
        group: what it is listed under.
        summary: what it does, in one line.
        module: has `main`.
        flags_in: has `flags`, its parser, and imports no Beam.
        on_beam: whether its module imports Beam.
    """

    group: str
    summary: str
    module: str
    flags_in: str
    on_beam: bool = False

    def parser(self) -> argparse.ArgumentParser:
        """The command's argument parser."""
        parser: argparse.ArgumentParser = import_module(self.flags_in).flags()
        return parser

    def load(self) -> Callable[[], int]:
        """The command's `main`, which reads `sys.argv` and returns an exit code."""
        with uncollected():
            if self.on_beam:
                import_beam()
            return self._main()

    def _main(self) -> Callable[[], int]:
        main: Callable[[], int] = import_module(self.module).main
        return main


def _command(group: str, name: str, summary: str) -> Command:
    return Command(group, summary, f"pipelines.{name}", f"pipelines.{name}")


def _with_options(group: str, name: str, summary: str) -> Command:
    return Command(group, summary, f"pipelines.{name}", f"pipelines.options.{name}_options")


def _on_beam(group: str, name: str, summary: str) -> Command:
    return replace(_with_options(group, name, summary), on_beam=True)


PAIRS, MODEL, SERVICE = "Pairs", "A model of your own", "Looking and looking after"

COMMANDS = {
    "convert": _command(PAIRS, "convert", "CSV, TSV or JSON Lines → Parquet of pairs"),
    "score": _on_beam(PAIRS, "score", "pairs + bundle → the same rows, a similarity, a label"),
    "find": _on_beam(PAIRS, "find", "sentences + bundle → all pairs that are similar"),
    "cluster": _on_beam(PAIRS, "cluster", "similar pairs → groups with ids that stay"),
    "label": _on_beam(MODEL, "label", "scored pairs → a page to label the best of them on"),
    "doubts": _on_beam(MODEL, "doubts", "labelled pairs → the labels most likely wrong"),
    "preprocess": _on_beam(MODEL, "preprocess", "labelled pairs + recipe → examples"),
    "train": _with_options(MODEL, "train", "examples → bundle"),
    "vertex": _command(MODEL, "vertex", "the same on Vertex AI, with GPUs"),
    "import": Command(
        MODEL,
        "a Keras model or a SavedModel of yours → bundle",
        "pipelines.import_model",
        "pipelines.options.import_options",
    ),
    "evaluate": _on_beam(MODEL, "evaluate", "labelled scores → numbers and a report"),
    "calibrate": _command(MODEL, "calibrate", "labelled scores + bundle → similarities as chances"),
    "export": _command(MODEL, "export", "bundle + examples → a bundle of another precision"),
    "try": Command(
        SERVICE,
        "score single pairs from the keyboard",
        "pipelines.try",
        "pipelines.trying.try_pairs",
    ),
    "drift": _command(SERVICE, "drift", "scores of several nights → a trend, and what changed"),
    "inspect": _command(SERVICE, "inspect", "show what a folder of ours holds"),
    "store": _command(SERVICE, "store", "tidy an embedding store"),
    "template": _command(SERVICE, "template", "write a Dataflow flex template"),
}
