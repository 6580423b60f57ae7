"""Way 3, the limit: one process, no Beam: read, distinct, bucket, encode, compare, write.

It uses the bundle's own functions and keeps the whole file in memory, as a person would who
writes this once for one file.
"""

from __future__ import annotations

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

TOKENS = 16_384


def main(path: str, bundle: str, output: str, rows: int) -> None:
    cores = len(os.sched_getaffinity(0))
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(cores)
    import tensorflow_text  # noqa: F401

    functions = tf.saved_model.load(f"{bundle}/saved_model").signatures
    encode, compare = functions["encode_ids"], functions["compare"]
    encode(ids=tf.ones([2, 2], tf.int32))  # traced before the clock starts
    started = time.perf_counter()
    table = pq.read_table(path)
    sides = [table[name].combine_chunks() for name in ("sentence1", "sentence2")]
    both = pa.concat_arrays(sides).dictionary_encode()
    found = functions["tokenize"](
        sentences=tf.constant(both.dictionary.to_numpy(zero_copy_only=False))
    )
    ragged = tf.RaggedTensor.from_row_lengths(found["values"], found["row_lengths"])
    lengths = found["row_lengths"].numpy()
    order = np.argsort(lengths)
    batches, start = [], 0
    while start < len(order):
        take = max(1, TOKENS // lengths[order[min(len(order) - 1, start + 256)]])
        batches.append(order[start : start + take])
        start += take
    vectors = np.empty((len(order), encode.structured_outputs["vectors"].shape[1]), np.float32)

    def encode_batch(rows: np.ndarray) -> None:
        vectors[rows] = encode(ids=tf.gather(ragged, rows).to_tensor())["vectors"].numpy()

    with ThreadPoolExecutor(cores) as pool:
        list(pool.map(encode_batch, batches))
    places = both.indices.to_numpy()
    pairs = table.num_rows
    scored = compare(u=vectors[places[:pairs]], v=vectors[places[pairs:]])
    for name in ("similarity", "label"):
        table = table.append_column(f"scored_{name}", pa.array(scored[name].numpy()))
    pq.write_table(table, output, compression="zstd")
    print(json.dumps({"pairs": pairs, "seconds": time.perf_counter() - started}))


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]))
