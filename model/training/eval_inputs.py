"""Files that a trained network is measured on beside the eval part, each under its own name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from model.dataset.examples import Examples
from model.recipe.recipe import Recipe
from model.training.evaluation import EvaluatedPairs, measures_at
from transforms.errors import UserError
from transforms.input.read_shards import read_shard
from transforms.input.shards import Shard, plan_shards
from transforms.labels import parse_labels
from transforms.pairs import PairColumns, sentences, split_rows

Score = Callable[..., dict[str, tf.Tensor]]
_SHARD_ROWS, _BATCH_BYTES, _ROWS, _MOST_CHARS = 1 << 18, 8 << 20, 512, 10_000


def plan_eval_inputs(
    inputs: dict[str, str], examples: Examples
) -> dict[str, tuple[list[Shard], PairColumns]]:
    """The shards of each named file or glob, under the columns that the examples were made from.

    Raises:
        UserError: a file is not there, or lacks a column; before anything is trained.
    """
    if not inputs:
        return {}
    first, second, *label = examples.manifest["options"]["columns"]
    if len(label) != 1 or label[0] is None:
        raise UserError(
            "--eval_input needs labels; these examples were made without a label column"
        )
    columns = PairColumns(first, second, label=label[0])
    return {
        name: (plan_shards([path], columns, shard_rows=_SHARD_ROWS), columns)
        for name, path in inputs.items()
    }


def measure_inputs(
    recipe: Recipe,
    planned: dict[str, tuple[list[Shard], PairColumns]],
    score: Score,
    threshold: float,
) -> dict[str, dict[str, float]]:
    """`measure_input` of each, by name; a line says what each reaches."""
    found = {name: measure_input(recipe, each, score, threshold) for name, each in planned.items()}
    for name, measures in found.items():
        texts = (f"{measure.replace('_', ' ')} {value:.4g}" for measure, value in measures.items())
        print(f"{name}: {', '.join(texts)}", flush=True)
    return found


def measure_input(
    recipe: Recipe, planned: tuple[list[Shard], PairColumns], score: Score, threshold: float
) -> dict[str, float]:
    """What a network reaches on a named input.

    Args:
        recipe: says how labels are read, and what is measured.
        planned: shards and their columns, of `plan_eval_inputs`.
        score: the bundle's signature: strings of both sides [n] → `similarity` and `label` [n].
        threshold: from which two sentences are similar.

    Returns:
        `rows`, `rows_rejected`, and the measures at that threshold.
    """
    shards, columns = planned
    rejected, labels, similar, classes = 0, [], [], []
    for shard in shards:
        for batch in read_shard(shard, batch_bytes=_BATCH_BYTES):
            rows, bad = split_rows(batch, columns, max_chars=_MOST_CHARS, labels=recipe.label_rule)
            rejected += bad.num_rows
            assert columns.label is not None
            labels.append(parse_labels(rows.column(columns.label), recipe.label_rule).to_numpy())
            for found in _scored(rows, columns, score):
                similar.append(found["similarity"].numpy())
                classes.append(found["label"].numpy())
    if not similar:
        return {"rows": 0, "rows_rejected": rejected}
    evaluation = EvaluatedPairs(
        np.concatenate(labels),
        np.concatenate(similar),
        float("nan"),
        np.concatenate(classes) if recipe.task == "classes" else None,
    )
    measures = measures_at(recipe, evaluation, threshold)
    return {"rows": len(evaluation.labels), "rows_rejected": rejected, **measures}


def _scored(rows: pa.RecordBatch, columns: PairColumns, score: Score) -> Iterator[dict[str, Any]]:
    """Rows scored piece by piece, in the order they came."""
    sides = [sentences(rows, name).to_pylist() for name in columns.texts]
    for start in range(0, rows.num_rows, _ROWS):
        yield score(*(tf.constant(side[start : start + _ROWS], tf.string) for side in sides))
