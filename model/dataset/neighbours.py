"""Training examples in an order in which pairs that share sentences stand together.

Questions of a service come in many pairs each. Where a batch holds such pairs together, it has few
sentences for its pairs, and a step that encodes each of them once has less to do. The sentences
are numbered so that linked ones have near numbers (reverse Cuthill–McKee, 1969, made for narrow
bands in sparse matrices), and pairs are sorted by the numbers of their sentences.

All examples are in memory while they are sorted, some hundred bytes a pair, on every worker.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import tensorflow as tf

from model.dataset.batch_plan import Records
from model.dataset.windows import COMPRESSION, parse

FILES = 8  # streams of a batch: each gives an eighth of it, pairs that stand together
_READ = 1 << 16
_SEED = 0x6E656967


def arrange(records: Records, folder: str, batch_size: int) -> tuple[Records, float]:
    """Writes the same examples in such an order into a folder.

    Returns:
        How they are to be read there; and the distinct sentences of a pair's share of a batch, at
        most 2 for pairs.
    """
    serialised, sides = _read(records)
    order = neighbour_order(sides)
    parts = np.array_split(order, min(FILES, len(order)))
    paths = []
    for number, part in enumerate(parts):
        paths.append(str(Path(folder) / f"{number:05d}.tfrecord.gz"))
        with tf.io.TFRecordWriter(paths[-1], COMPRESSION) as writer:
            for row in part:
                writer.write(serialised[row])
    arranged = replace(records, files=tuple(paths), rows=tuple(map(len, parts)))
    return arranged, sentences_a_row(sides[order], max(1, batch_size // FILES))


def sentences_a_row(sides: np.ndarray, size: int) -> float:
    """Distinct values of rows [n, s] by the rows, in blocks of so many rows."""
    blocks = [sides[start : start + size] for start in range(0, len(sides), size)]
    return sum(len(np.unique(block)) for block in blocks) / max(1, len(sides))


def neighbour_order(sides: np.ndarray) -> np.ndarray:
    """The order in which pairs that share sentences are near each other, row numbers [n].

    `sides` are hashes of each pair's sentences, uint64 [n, 2], or [n, 3] of triplets.
    """
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import reverse_cuthill_mckee

    _, links = np.unique(sides, return_inverse=True)
    links = links.reshape(sides.shape)
    count = int(links.max(initial=-1)) + 1
    first, second = np.tile(links[:, 0], sides.shape[1] - 1), links[:, 1:].T.ravel()
    # Sentences are nodes and pairs edges, both ways: the ordering wants a symmetric matrix.
    ends = (np.concatenate([first, second]), np.concatenate([second, first]))
    graph = csr_matrix((np.ones(len(ends[0]), np.int8), ends), (count, count))
    place = np.argsort(reverse_cuthill_mckee(graph, symmetric_mode=True))[links]
    # By the pair's lesser place, then by its greater: after narrowing the band the two are close.
    return np.lexsort((place.max(axis=1), place.min(axis=1)))


def _read(records: Records) -> tuple[list[bytes], np.ndarray]:
    """All serialised examples, and a hash of each of their sides, uint64 [n, sides]."""
    serialised: list[bytes] = []
    hashes = [np.zeros((0, len(records.sides)), np.uint64)]
    for block in tf.data.TFRecordDataset(list(records.files), COMPRESSION).batch(_READ):
        rows, _ = parse(records, block)
        hashes.append(np.stack([_hashes(rows[name]) for name in records.sides], axis=1))
        serialised += block.numpy().tolist()
    return serialised, np.concatenate(hashes)


def _hashes(sentences: tf.RaggedTensor) -> np.ndarray:
    """Ids, ragged [n, at least 1] → uint64 [n]: a polynomial of them, mixed by its high bits."""
    ids, starts = sentences.values.numpy().astype(np.uint64), sentences.row_starts().numpy()
    places = np.arange(len(ids)) - np.repeat(starts, sentences.row_lengths().numpy())
    random = np.random.default_rng(_SEED).integers(0, 2**64, places.max(initial=0) + 1, np.uint64)
    mixed = (ids + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(29)
    return np.add.reduceat(mixed * (random[places] | np.uint64(1)), starts)
