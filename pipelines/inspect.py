"""Shows what one of our folders is: bundle, examples, scores or report; in a screen, or as JSON.

twinbeam inspect out/scores
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from pipelines.options import command_line
from pipelines.options.parser import CommandParser
from transforms.accounts.output_folder import find_manifest, manifest_files
from transforms.accounts.shard_account import SUCCESS, is_scores
from transforms.errors import UserError
from transforms.input.parquet_columns import open_parquet
from transforms.storage import files
from transforms.threads import in_threads

MANIFEST = "manifest.json"  # of a bundle and of examples
EXAMPLE = "twinbeam inspect out/scores"
SUM_THREADS = 16
_SHOWN = {
    "bundle": (
        "recipe", "task", "classes", "threshold", "dimensions", "vocabulary_size", "calibration",
        "fingerprint", "created", "versions",
    ),
    "examples": (
        "recipe", "rows_in", "rows_train", "rows_eval", "rows_rejected", "rejected_by_reason",
        "rows_inferred", "inferred_agreement", "label_counts", "vocabulary_size",
        "out_of_vocabulary_rate", "options", "seconds", "pairs_per_second", "versions",
    ),
    "scores": (
        "rows_in", "rows_scored", "rows_rejected", "rejected_by_reason", "sentences",
        "sentences_encoded", "cache_hits", "shards", "bundle", "drift", "options", "seconds",
        "pairs_per_second", "versions",
    ),
    "report": ("task", "rows", "rows_skipped", "metrics", "warnings", "lineage", "seconds"),
}  # fmt: skip


def flags() -> argparse.ArgumentParser:
    """All flags of `inspect`."""
    parser = CommandParser("inspect", (__doc__ or "").splitlines()[0], EXAMPLE)
    parser.add_argument(
        "folder", help="a bundle, examples, scores, a report or a Parquet file; local or gs://"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--no_sums", action="store_true", help="do not read the files to verify checksums"
    )
    return parser


def run(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Looks at a folder, prints what it is, and returns it."""
    args = flags().parse_args(sys.argv[1:] if argv is None else argv)
    found = inspect(args.folder.rstrip("/"), sums=not args.no_sums)
    if args.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        show(found)
    return found


def inspect(folder: str, *, sums: bool = True) -> dict[str, Any]:
    """What a folder is and holds.

    Args:
        folder: local or `gs://`.
        sums: whether to read every file and compare it with its sum.

    Raises:
        UserError: it is none of ours.
    """
    if folder.endswith(".parquet") and files.exists(folder):
        return {"folder": folder, "kind": "Parquet", **_parquet_file(folder)}
    kind = kind_of(folder)
    manifest = files.read_json(_manifest_path(folder, kind))
    found: dict[str, Any] = {"folder": folder, "kind": kind}
    if kind != "bundle":
        found["finished"] = files.exists(files.join(folder, SUCCESS))
    found |= {key: manifest[key] for key in _SHOWN[kind] if manifest.get(key) is not None}
    if kind == "scores":
        found |= score_files(folder, manifest)
    if sums and kind != "report":
        found["sums"] = check_sums(folder, kind, manifest)
    return found


def _manifest_path(folder: str, kind: str) -> str:
    names = {"report": "metrics.json", "bundle": MANIFEST, "examples": MANIFEST}
    return files.join(folder, names[kind]) if kind in names else find_manifest(folder) or folder


def kind_of(folder: str) -> str:
    """`bundle`, `examples`, `scores` or `report`.

    Raises:
        UserError: it is none of ours.
    """
    marks = {
        "examples": ("transformed_metadata/saved_model.pb", "transform_fn/saved_model.pb"),
        "bundle": ("saved_model/saved_model.pb",),
        "report": ("report.html",),
    }
    for kind, names in marks.items():
        if any(files.exists(files.join(folder, *name.split("/"))) for name in names):
            return kind
    manifest = find_manifest(folder)
    if manifest and "rows_scored" in files.read_json(manifest):
        return "scores"
    raise UserError(
        f"{folder} was not written by twinbeam; expected the --output of preprocess, train, score "
        "or evaluate"
    )


def score_files(folder: str, manifest: dict[str, Any]) -> dict[str, Any]:
    """How many files of scores and rejects there are, and the schema of the scores."""
    names = [file["name"] for file in manifest_files(folder, manifest)]
    scored = [name for name in names if is_scores(name)]
    about: dict[str, Any] = {"files": len(scored), "reject_files": len(names) - len(scored)}
    if scored:
        with files.open_input(files.join(folder, scored[0])) as file:
            schema = open_parquet(file).schema_arrow
        about["schema"] = {field.name: str(field.type) for field in schema}
    return about


def _parquet_file(path: str) -> dict[str, Any]:
    """Rows and columns of a file.

    Raises:
        UserError: it is not Parquet.
    """
    try:
        with files.open_input(path) as file:
            parquet = open_parquet(file)
            schema = {field.name: str(field.type) for field in parquet.schema_arrow}
            return {"rows": parquet.metadata.num_rows, "schema": schema}
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as Parquet: {files.reason(error)}") from None


def check_sums(folder: str, kind: str, manifest: dict[str, Any]) -> str:
    """`valid`, or the first file that is not what the manifest says."""
    if kind == "bundle":
        from model.bundle.loading import verify

        try:
            verify(folder)
            return "valid"
        except UserError as error:
            return str(error)
    listed = list(manifest_files(folder, manifest)) or (
        manifest.get("train_files", []) + manifest.get("eval_files", [])
    )

    def check(file: dict[str, Any]) -> str | None:
        try:
            digest = files.sha256_of(files.join(folder, *file["name"].split("/")))
        except FileNotFoundError:
            return f"{file['name']} is missing"
        return None if digest == file["sha256"] else f"{file['name']} was changed"

    return next(filter(None, in_threads(check, listed, SUM_THREADS)), "valid")


def show(found: dict[str, Any]) -> None:
    """Prints a line for each thing."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in found.items():
        table.add_row(key.replace("_", " "), escape(format_value(value)))
    Console(highlight=False, soft_wrap=False).print(table)


def format_value(value: Any) -> str:
    """A value in a line, or one line for each thing in it."""
    if isinstance(value, dict):
        deep = any(isinstance(each, dict) for each in value.values())
        parts = (f"{key} {format_value(each)}" for key, each in value.items())
        return ("\n" if deep else ", ").join(parts)
    if isinstance(value, list):
        return ", ".join(map(format_value, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def main() -> int:
    """The command line."""
    return command_line.run_main(run)


if __name__ == "__main__":
    raise SystemExit(main())
