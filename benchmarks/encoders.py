"""The encoder alone on the same sentences: TensorFlow's graph, C++, and C++ in fixed point.

python -m benchmarks.encoders --recipe char-bilstm-manhattan --file DATA/bq_train80k.parquet
Of LSTMs it also says what share of the speed of NumPy's matrix product their own products reach.
The network is untrained and ids are made up, one for each character, or each word of a BERT: speed
depends on the sentences' lengths alone.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow.parquet as pq

from model.kernels.encoders import PackedEncoder
from model.recipe.reading import load_recipe
from transforms.quiet_tensorflow import import_tensorflow

# Run in a process of its own.
PRODUCT = """
import time, numpy
a, b = numpy.random.default_rng(0).standard_normal((2, 1024, 1024), numpy.float32)
a @ b
started = time.process_time()
for _ in range(8):
    a @ b
print(8 * 2 * 1024**3 / (time.process_time() - started))
"""


def sentences(path: str, count: int, *, words: bool) -> tuple[np.ndarray, np.ndarray, int]:
    """Ids of the file's first distinct sentences in a row, their lengths, and ids in use."""
    table = pq.read_table(path, columns=["sentence1", "sentence2"])
    distinct = dict.fromkeys(table["sentence1"].to_pylist() + table["sentence2"].to_pylist())
    known: dict[str, int] = {}
    rows = []
    for text in list(distinct)[:count]:
        pieces = ["[CLS]", *text.split(), "[SEP]"] if words else list(text) or [" "]
        rows.append([known.setdefault(piece, len(known) + 1) for piece in pieces[:126]])
    lengths = np.array([len(row) for row in rows])
    return np.concatenate([np.array(row, np.int32) for row in rows]), lengths, len(known) + 1


def ways(recipe_name: str, values: np.ndarray, lengths: np.ndarray, size: int, threads: int):
    """Name → function that encodes all sentences."""
    import tensorflow as tf

    from model.bundle.packed_weights import packed_weights
    from model.bundle.signatures import serving_encoder
    from model.kernels.encoders import EXACT_ONLY, INT16, about, open_encoder, with_precision
    from model.network.siamese import build_siamese
    from model.scoring.length_batches import batches_by_length, padded

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    recipe = load_recipe(recipe_name)
    vectors = None
    if recipe.embedding is not None:
        random = np.random.default_rng(0)
        vectors = random.normal(0, 0.3, (size, recipe.embedding.dimensions)).astype(np.float32)
    siamese = build_siamese(recipe, vocabulary_size=size, vectors=vectors)
    serving = serving_encoder(siamese, recipe)
    graph = tf.function(lambda ids: serving(ids)).get_concrete_function(
        tf.TensorSpec([None, None], tf.int32)
    )
    arrays = packed_weights(siamese.encoder, recipe)
    assert arrays is not None, "C++ does not know this encoder"
    exact = open_encoder(arrays)
    assert exact is not None, "the library cannot run here"
    starts = np.cumsum(lengths) - lengths
    seen = exact.seen(values, starts[:200], lengths[:200]) if "positions" in arrays else None
    pool = ThreadPoolExecutor(threads)

    def by_graph() -> np.ndarray:
        found = np.empty((len(lengths), siamese.dimensions), np.float32)

        def one(batch) -> None:
            encoded = graph(tf.constant(padded(values, starts, lengths, batch))).numpy()
            found[batch.positions] = encoded[: len(batch.positions)]

        batches = batches_by_length(lengths, own_length=recipe.padding_changes_bits)
        list(pool.map(one, batches))
        return found

    def by_library(encoder) -> Callable[[], np.ndarray]:
        return lambda: encode_packed(encoder, values, starts, lengths, pool)

    found_ways = {"TensorFlow": by_graph, "C++": by_library(exact)}
    if about(arrays)["kind"] not in EXACT_ONLY:
        fixed = open_encoder(with_precision(arrays, INT16, seen))
        found_ways["C++ int16"] = by_library(fixed)
    return found_ways


def encode_packed(
    encoder: PackedEncoder,
    values: np.ndarray,
    starts: np.ndarray,
    lengths: np.ndarray,
    pool: ThreadPoolExecutor,
) -> np.ndarray:
    """Sentences in C++, as many calls at once as the pool has threads: [n, d]."""
    from model.scoring.length_batches import packed_batches

    found = np.empty((len(lengths), encoder.dimensions), np.float32)

    def one(part: np.ndarray) -> None:
        found[part] = encoder.encode(values, starts[part], lengths[part])

    list(pool.map(one, packed_batches(lengths, encoder.tokens)))
    return found


def lstm_operations(units: Sequence[int]) -> int:
    """Multiplications and additions of a token's products, the folded ones of the input apart."""
    inputs = [0, *(2 * count for count in units)]
    pairs = zip(inputs, units, strict=False)
    return sum(2 * 2 * (below + count) * 4 * count for below, count in pairs)


def product_speed() -> float:
    """Operations of NumPy's float32 matrix product in a second of the processor, on one core."""
    one_thread = os.environ | {"OPENBLAS_NUM_THREADS": "1"}  # several would wait for each other
    done = subprocess.run(
        [sys.executable, "-c", PRODUCT], env=one_thread, check=True, capture_output=True, text=True
    )
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--recipe", default="char-bilstm-manhattan")
    parser.add_argument("--file", required=True, metavar="PARQUET")
    parser.add_argument("--sentences", type=int, default=6_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    import_tensorflow()
    words = args.recipe.startswith("bert")
    values, lengths, size = sentences(args.file, args.sentences, words=words)
    found = ways(args.recipe, values, lengths, size, args.threads)
    first = {name: encode() for name, encode in found.items()}  # also prepares what runs first
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in found}
    peaks = []
    for _ in range(args.runs):
        peaks.append(product_speed())
        for name, encode in found.items():
            wall, cpu = time.perf_counter(), time.process_time()
            encode()
            spent[name].append((time.process_time() - cpu, time.perf_counter() - wall))
    print("| way | CPU seconds | sentences/s | of TensorFlow's CPU | differs at most |")
    print("| --- | --- | --- | --- | --- |")
    slow = statistics.median(cpu for cpu, _ in spent["TensorFlow"])
    for name, runs in spent.items():
        cpu, wall = (statistics.median(run[at] for run in runs) for at in (0, 1))
        differs = np.abs(first[name] - first["TensorFlow"]).max()
        speed = len(lengths) / wall
        print(f"| {name} | {cpu:.2f} | {speed:.0f} | {cpu / slow:.2f} | {differs:.1e} |")
    encoder = load_recipe(args.recipe).encoder
    if encoder.kind == "bilstm":
        cpu = statistics.median(cpu for cpu, _ in spent["C++"])
        reached, peak = lstm_operations(encoder.units) * len(values) / cpu, statistics.median(peaks)
        print(
            f"\nproducts of C++: {reached / 1e9:.0f} GFLOP a CPU second, "
            f"{reached / peak:.0%} of the {peak / 1e9:.0f} of NumPy's matrix product"
        )


if __name__ == "__main__":
    main()
