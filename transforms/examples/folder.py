"""The folder of examples: made beside its final place, checked, and then renamed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from transforms.accounts.shard_account import REJECTS_FOLDER, SUCCESS, WrittenFile
from transforms.accounts.staging import Staging
from transforms.errors import RunError, UserError
from transforms.examples.counts import Counts, accounts
from transforms.storage import files

MANIFEST = "manifest.json"
RECIPE = "recipe.yaml"
GRAPH_FOLDERS = ("transform_fn", "transformed_metadata")
VOCABULARY_ASSET = "transform_fn/assets/vocabulary"
_OURS = (MANIFEST, SUCCESS, RECIPE, REJECTS_FOLDER, "rejects", *GRAPH_FOLDERS)
_RESERVED_IDS = 2  # padding and out-of-vocabulary


def check_ours(output: str) -> list[str]:
    """Checks that the folder holds examples or nothing; returns the names of what it holds.

    Raises:
        UserError: it holds something else.
    """
    names = files.list_folder(output)
    foreign = [name for name in names if not _is_ours(name)]
    if foreign:
        raise UserError(
            f"{output} holds {foreign[0]!r}, which preprocess did not write; "
            "choose a new folder with --output"
        )
    return names


def check_free(output: str, *, overwrite: bool) -> None:
    """Checks that the folder may be written: nothing there, or examples that may be replaced.

    Raises:
        UserError: it holds something else, or examples and no permission to replace them.
    """
    if check_ours(output) and not overwrite:
        raise UserError(
            f"{output} holds examples already; choose another folder, or give --overwrite"
        )


def read_manifest(output: str) -> dict[str, Any]:
    """The manifest of finished examples; empty where they are not finished."""
    manifest = files.join(output, MANIFEST)
    finished = files.exists(files.join(output, SUCCESS)) and files.exists(manifest)
    content: dict[str, Any] = files.read_json(manifest) if finished else {}
    return content


def _is_ours(name: str) -> bool:
    return name.split("/")[0] in _OURS or name.endswith(".tfrecord.gz")


def vocabulary_size(folder: str) -> int:
    """Ids in use, padding and out-of-vocabulary included; 0 where no vocabulary was learned."""
    path = files.join(folder, *VOCABULARY_ASSET.split("/"))
    if not files.exists(path):
        return 0
    return files.read_bytes(path).count(b"\n") + _RESERVED_IDS


@dataclass(frozen=True)
class CommitExamples:
    """The last step: checks the accounts, writes the manifest, and makes the folder appear.

    It runs in a worker, so it happens even where the launcher has gone.

    Attributes:
        staging: the folder in the making.
        graph: the folder that holds tf.Transform's graph; it may be another one.
        planned: rows that the footers of the input promised.
        recipe: as YAML, to lie beside the examples.
        header: what the manifest says besides the accounts.
        max_reject_fraction: with more rejected rows than this the run fails.
        started: time.time() at the start of the run; distinguishes it from other runs.
    """

    staging: Staging
    graph: str
    planned: int
    recipe: str
    header: dict[str, Any]
    max_reject_fraction: float
    started: float

    def __call__(
        self, _: None, graph_written: Any, written: Iterable[WrittenFile], counts: Counts
    ) -> None:
        """Takes what has to be finished first, and commits.

        Raises:
            UserError: no pair is left to train on.
            RunError: the accounts do not add up, or too many rows were rejected.
        """
        if self._is_published():
            return  # a runner may do a step twice
        folder = self.staging.folder
        summary = accounts(counts, list(written), planned=self.planned)
        self._check_usable(summary)
        if self.graph != folder:
            for name in GRAPH_FOLDERS:
                files.copy_tree(files.join(self.graph, name), files.join(folder, name))
        seconds = time.time() - self.started
        manifest = summary | {
            "vocabulary_size": vocabulary_size(folder),
            **self.header,
            "started": self.started,
            "seconds": round(seconds, 3),
            "pairs_per_second": round(summary["rows_in"] / seconds, 1),
        }
        holds = [file["name"] for part in ("train", "eval") for file in manifest[f"{part}_files"]]
        marks = {RECIPE: self.recipe.encode(), MANIFEST: files.as_json(manifest), SUCCESS: b""}
        self.staging.publish(marks, holds=holds, is_done=self._is_published)

    def _is_published(self) -> bool:
        done, path = (files.join(self.staging.output, name) for name in (SUCCESS, MANIFEST))
        return files.exists(done) and files.read_json(path).get("started") == self.started

    def _check_usable(self, summary: dict[str, Any]) -> None:
        if not summary["rows_train"]:
            raise UserError(
                f"no pair is left to train on: {_format_rejected(summary)}, {summary['rows_eval']} "
                "are for eval; check --label_column and the labels of the recipe"
            )
        check_rejects(summary, self.max_reject_fraction, self.staging.folder)


def check_rejects(summary: Mapping[str, Any], most: float, folder: str) -> None:
    """Checks that not too many rows were rejected, before the commit or when it is met again.

    Raises:
        RunError: they were.
    """
    if summary["rows_rejected"] > most * summary["rows_in"]:
        raise RunError(
            f"{_format_rejected(summary)}, more than --max_reject_fraction {most} allows; "
            f"see {folder}/{REJECTS_FOLDER}/, fix the input or raise the fraction"
        )


def _format_rejected(summary: Mapping[str, Any]) -> str:
    reasons = ", ".join(f"{n} {why}" for why, n in summary["rejected_by_reason"].items())
    message = f"{summary['rows_rejected']} of {summary['rows_in']} rows were rejected"
    return f"{message} ({reasons})" if reasons else message
