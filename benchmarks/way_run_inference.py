"""Way 2, Beam off the shelf: rows → RunInference over a `tf.function` on batches → rows.

The clock starts when the model is loaded, as for the other ways.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.ml.inference.base import ModelHandler, PredictionResult, RunInference


class Handler(ModelHandler[dict, PredictionResult, Any]):
    """Calls the plain two-sided network on batches of rows, both sides of each pair."""

    def __init__(self, bundle: str, loaded: str):
        self._bundle = bundle
        self._loaded = loaded

    def load_model(self) -> Any:
        import tensorflow as tf
        import tensorflow_text  # noqa: F401

        from benchmarks.network import plain_network

        tokenize = tf.saved_model.load(f"{self._bundle}/saved_model").signatures["tokenize"]
        network = plain_network(self._bundle)

        @tf.function(reduce_retracing=True)
        def score(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
            return network([first, second], training=False)

        def ids(sentences: list[str]) -> tf.Tensor:
            found = tokenize(tf.constant(sentences))
            ragged = tf.RaggedTensor.from_row_lengths(found["values"], found["row_lengths"])
            return ragged.to_tensor()

        def model(rows: Sequence[dict]) -> Any:
            sides = ([row[name] for row in rows] for name in ("sentence1", "sentence2"))
            return score(*map(ids, sides)).numpy()

        model([{"sentence1": "warm", "sentence2": "up"}])
        Path(self._loaded).write_text(str(time.time()))
        return model

    def run_inference(
        self, batch: Sequence[dict], model: Any, inference_args: dict | None = None
    ) -> list[PredictionResult]:
        return [
            PredictionResult(row, float(similarity))
            for row, similarity in zip(batch, model(batch), strict=True)
        ]

    def batch_elements_kwargs(self) -> dict[str, int]:
        return {"min_batch_size": 512, "max_batch_size": 512}


def with_score(result: PredictionResult) -> dict:
    return {**result.example, "similarity": result.inference}


def main(path: str, bundle: str, output: str, rows: int) -> None:
    table = pq.read_table(path).slice(0, rows).replace_schema_metadata(None)
    schema = table.schema.append(pa.field("similarity", pa.float32()))
    part, loaded = f"{output}.in.parquet", f"{output}.loaded"
    pq.write_table(table, part)
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        (
            pipeline
            | beam.io.ReadFromParquet(part)
            | RunInference(Handler(bundle, loaded))
            | beam.Map(with_score)
            | beam.io.WriteToParquet(output, schema)
        )
    seconds = time.time() - float(Path(loaded).read_text())
    print(json.dumps({"pairs": table.num_rows, "seconds": seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]))
