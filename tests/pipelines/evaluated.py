"""The content of metrics.json for a table of scores, without a pipeline."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from transforms.evaluation.evaluate_shards import EvaluationSettings, add_up, evaluate_batch
from transforms.evaluation.metrics_json import results


def evaluated(table: pa.Table, settings: EvaluationSettings | None = None) -> dict[str, Any]:
    settings = settings or EvaluationSettings()
    columns = settings.columns
    batches = table.combine_chunks().to_batches()
    whole = add_up((evaluate_batch(batch, settings) for batch in batches), keep=settings.worst)
    return {
        "task": columns.task,
        "classes": list(columns.classes),
        **results(whole, columns.classes, resamples=20),
        "lineage": {"inputs": ["scores"]},
        "versions": {"numpy": "2"},
    }
