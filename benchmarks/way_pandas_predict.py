"""Way 1, the articles': pandas, every sentence padded to the longest, `keras.Model.predict`."""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import pandas as pd
import tensorflow as tf
import tensorflow_text  # noqa: F401 (registers the operations of the tokeniser)

from benchmarks.network import plain_network

LONGEST = 153  # the longest sentence of BQ, as the article pads


def main(path: str, bundle: str, output: str, rows: int) -> None:
    tokenize = tf.saved_model.load(f"{bundle}/saved_model").signatures["tokenize"]
    network = plain_network(bundle)
    table = pd.read_parquet(path).head(rows)

    def ids(column: str) -> np.ndarray:
        found = tokenize(tf.constant(table[column].tolist()))
        ragged = tf.RaggedTensor.from_row_lengths(found["values"], found["row_lengths"])
        return ragged.to_tensor(shape=[None, LONGEST]).numpy()

    started = time.perf_counter()
    table["similarity"] = network.predict(
        [ids("sentence1"), ids("sentence2")], batch_size=512, verbose=0
    )
    table.to_parquet(output)
    print(json.dumps({"pairs": len(table), "seconds": time.perf_counter() - started}))


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]))
