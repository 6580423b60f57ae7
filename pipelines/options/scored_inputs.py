"""Finds out what scores mean: their files, bundle, task, labels and lineage."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from transforms.accounts.output_folder import find_manifest, manifest_files, read_manifest
from transforms.accounts.shard_account import SUCCESS, is_scores
from transforms.columns import is_number
from transforms.errors import UserError
from transforms.evaluation.scored_rows import ScoredColumns, Task
from transforms.evaluation.slices import can_be_slice
from transforms.input.input_files import FoundFile
from transforms.input.parquet_columns import column_leaves, open_parquet
from transforms.input.shards import FOOTER_THREADS
from transforms.labels import LabelRule, can_be_label
from transforms.pairs import PairColumns
from transforms.storage import files
from transforms.threads import in_threads

if TYPE_CHECKING:
    from model.recipe import Recipe

RECIPE = "recipe.yaml"
DEFAULT_ID = "id"
MANIFEST = "manifest.json"  # of a bundle and of examples
_SHOWN_OF_EXAMPLES = (
    "rows_in",
    "rows_train",
    "rows_eval",
    "rows_rejected",
    "rejected_by_reason",
    "vocabulary_size",
    "out_of_vocabulary_rate",
    "label_counts",
)


def is_folder(pattern: str) -> bool:
    """Whether an input is the folder of a scoring run, not files."""
    return find_manifest(pattern.rstrip("/")) is not None


def score_inputs(inputs: Iterable[str]) -> list[str | FoundFile]:
    """Patterns for scores; of a scoring run's folder the scores, as its manifest lists them.

    Raises:
        UserError: a scoring run has not finished.
    """
    patterns: list[str | FoundFile] = []
    for pattern in inputs:
        if not is_folder(pattern):
            patterns.append(pattern)
            continue
        folder = pattern.rstrip("/")
        if not files.exists(files.join(folder, SUCCESS)):
            raise UserError(f"{folder} has no {SUCCESS}: its scoring has not finished; score again")
        scored = manifest_files(folder, read_manifest(folder))
        names = [file["name"] for file in scored if is_scores(file["name"])]
        patterns += [FoundFile(files.join(folder, *n.split("/")), None, n) for n in names]
    if not patterns:
        raise UserError(f"--input {', '.join(inputs)}: no scores in it")
    return patterns


def find_bundle(named: str | None, inputs: Iterable[str]) -> str | None:
    """The bundle that was named, or the one that the scores came from, if it still is the same."""
    if named:
        if not files.exists(files.join(named.rstrip("/"), RECIPE)):
            raise UserError(f"--model {named} is not a bundle: it has no {RECIPE}")
        return named.rstrip("/")
    for folder in (pattern.rstrip("/") for pattern in inputs if is_folder(pattern)):
        made_by = read_manifest(folder).get("bundle", {})
        path = made_by.get("path")
        if path and files.exists(files.join(path, MANIFEST)):
            now = files.read_json(files.join(path, MANIFEST))
            if now.get("fingerprint") == made_by.get("fingerprint"):
                return path
    return None


def bundle_recipe(bundle: str) -> Recipe:
    """The recipe in a bundle."""
    from model.recipe.reading import read_recipe  # help reads no recipe

    path = files.join(bundle, RECIPE)
    return read_recipe(files.read_bytes(path), source=path)


def find_columns(args: argparse.Namespace, pairs: PairColumns, bundle: str | None) -> ScoredColumns:
    """What the flags, and where they say nothing the bundle, say of the scores.

    Raises:
        UserError: what they say does not fit together.
    """
    recipe = bundle_recipe(bundle) if bundle else None
    task: Task = args.task or (recipe.task if recipe else "binary")
    rule = recipe.label_rule if recipe and recipe.task == task else None
    if args.classes:
        rule = LabelRule(tuple(args.classes))
    if args.label_range:
        rule = LabelRule(None, *args.label_range)
    rule = rule or (LabelRule(("0", "1")) if task == "binary" else LabelRule())
    if (task == "regression") != (rule.classes is None):
        wanted = "--label_range MIN MAX" if task == "regression" else "--classes NAME NAME …"
        raise UserError(f"--task {task} needs {wanted}, or a --model BUNDLE that says it")
    if task == "regression" and (rule.minimum is None or rule.maximum is None):
        raise UserError("--task regression needs --label_range MIN MAX, or --model BUNDLE")
    if task == "binary" and len(rule.classes or ()) != 2:
        raise UserError(f"--classes: two classes have two names; received {rule.classes}")
    if args.threshold is not None and task != "binary":
        raise UserError(f"--threshold is for two classes; the task is {task}")
    if args.threshold is not None and not 0 <= args.threshold <= 1:
        raise UserError(f"--threshold {args.threshold:g}: expected a similarity from 0 to 1")
    return ScoredColumns(
        pairs=pairs,
        task=task,
        labels=rule,
        similarity=args.similarity_column,
        predicted=None if args.threshold is not None else args.similarity_label_column,
        threshold=args.threshold,
        slices=tuple(dict.fromkeys(args.slice_column)),
        id=args.id_column,
    )


def with_id(columns: ScoredColumns, schemas: Mapping[str, pa.Schema]) -> ScoredColumns:
    """The columns with `id` as what names a row, where none was named and every file has it."""
    every_file_has_it = columns.id is None and all(
        DEFAULT_ID in schema.names and can_be_slice(schema.field(DEFAULT_ID).type)
        for schema in schemas.values()
    )
    return replace(columns, id=DEFAULT_ID) if every_file_has_it else columns


def check_columns(schemas: Mapping[str, pa.Schema], columns: ScoredColumns) -> None:
    """Checks that every file has what an evaluation reads, in types that it can read.

    Raises:
        UserError: names the file, the column, its type and what to do.
    """
    checked: set[int] = set()
    for source, schema in schemas.items():
        if id(schema) in checked:  # files with the same schema share one
            continue
        checked.add(id(schema))
        for name in columns.needed():
            if name not in schema.names:
                raise UserError(
                    f"{source}: no column {name!r}; it has {', '.join(schema.names[:12])}; "
                    "expected scores of pipelines.score, or name yours with a flag (see --help)"
                )
        for flag, name, fits, expected in _expected_types(columns):
            found = schema.field(name).type
            if not fits(found):
                raise UserError(
                    f"{source}: column {name!r} is {found}, expected {expected}; "
                    f"name another with {flag}"
                )


def _expected_types(
    columns: ScoredColumns,
) -> Iterator[tuple[str, str, Callable[[pa.DataType], bool], str]]:
    yield "--similarity_column", columns.similarity, is_number, "numbers"
    if columns.predicted is not None and columns.task != "regression":
        labels = "numbers, text or booleans"
        yield "--similarity_label_column", columns.predicted, can_be_label, labels
    if columns.task == "classes":
        for name in columns.classes:
            yield "--classes", f"probability_{name}", is_number, "numbers"
    if columns.id is not None:
        yield "--id_column", columns.id, can_be_slice, "text, numbers, booleans, dates or times"
    for name in columns.slices:
        simple = "text, numbers, booleans, dates or times"
        yield "--slice_column", name, can_be_slice, simple


def score_range(sources: Collection[str], columns: ScoredColumns) -> tuple[float, float]:
    """Least and greatest similarity: 0 and 1, or for number labels what the files say."""
    if columns.task != "regression":
        return 0.0, 1.0
    bounds = [columns.labels.minimum or 0.0, columns.labels.maximum or 1.0]
    for found in in_threads(
        lambda source: _range_in(source, columns.similarity), sources, FOOTER_THREADS
    ):
        bounds += found
    return float(min(bounds)), float(max(bounds))


def _range_in(source: str, name: str) -> list[float]:
    """The finite bounds of a column: by its statistics, or read where a file has none."""
    with files.open_input(source) as file:
        parquet = open_parquet(file)
        place, kind = column_leaves(parquet.schema_arrow, name)[0], parquet.schema_arrow.field(name)
        groups = [parquet.metadata.row_group(g) for g in range(parquet.metadata.num_row_groups)]
        statistics = [group.column(place).statistics for group in groups if group.num_rows]
        complete = all(found is not None and found.has_min_max for found in statistics)
        if complete and not pa.types.is_float16(kind.type):  # Arrow hands those on as bytes
            bounds = [bound for found in statistics for bound in (found.min, found.max)]
        else:
            values = parquet.read(columns=[name]).column(name).cast(pa.float64()).drop_null()
            finite = values.filter(pc.is_finite(values))
            bounds = [pc.min(finite).as_py(), pc.max(finite).as_py()] if len(finite) else []
    return [float(bound) for bound in bounds if math.isfinite(bound)]


def lineage(inputs: Sequence[str], bundle: str | None, examples: str | None) -> dict[str, Any]:
    """Where the scores come from: files, bundle, recipe, examples."""
    content: dict[str, Any] = {"inputs": list(inputs)}
    folders = [pattern.rstrip("/") for pattern in inputs if is_folder(pattern)]
    if folders:
        manifest = read_manifest(folders[0])
        kept = ("bundle", "options", "rows_in", "rows_scored", "rows_rejected", "drift")
        content["scores"] = {key: manifest[key] for key in kept if key in manifest}
    if bundle:
        manifest = files.read_json(files.join(bundle, MANIFEST))
        of_bundle = ("recipe", "task", "threshold", "fingerprint", "created", "versions")
        content["bundle"] = {"path": bundle} | {
            key: manifest[key] for key in of_bundle if key in manifest
        }
    if examples:
        manifest = files.read_json(files.join(examples, MANIFEST))
        content["examples"] = {"path": examples} | {
            key: manifest[key] for key in _SHOWN_OF_EXAMPLES if key in manifest
        }
    return content
