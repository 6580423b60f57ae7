"""Makes small example folders as preprocessing would, by TensorFlow's own record writer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

Pair = tuple[list[int], list[int], float]


def make_pairs(*, rows: int, vocabulary: int = 20, longest: int = 9, seed: int = 0) -> list[Pair]:
    """Random pairs; a pair is alike (1) where both sides begin with the same id."""
    rng = np.random.default_rng(seed)
    pairs = []
    for number in range(rows):
        first, second = (
            rng.integers(2, vocabulary, rng.integers(1, longest + 1)).tolist() for _ in range(2)
        )
        if number % 2:
            second[0] = first[0]
        pairs.append((first, second, float(first[0] == second[0])))
    return pairs


def write_shards(
    folder: Path, part: str, pairs: Sequence[Pair], *, sizes: Sequence[int]
) -> list[str]:
    """Gzipped TFRecord shards of so many pairs each; their paths."""
    paths, first = [], 0
    for index, size in enumerate(sizes):
        path = str(folder / f"{part}-{index:05d}-of-{len(sizes):05d}.tfrecord.gz")
        with tf.io.TFRecordWriter(path, tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
            for pair in pairs[first : first + size]:
                writer.write(serialise(pair))
        paths.append(path)
        first += size
    assert first == len(pairs)
    return paths


def serialise(pair: Pair) -> bytes:
    """A pair of id lists, or of texts, as a tf.Example."""
    first, second, label = pair
    names = ("text1", "text2") if isinstance(first, str) else ("ids1", "ids2")
    features = {name: _feature(side) for name, side in zip(names, (first, second), strict=True)}
    features["label"] = tf.train.Feature(float_list=tf.train.FloatList(value=[label]))
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def _feature(side: list[int] | str) -> tf.train.Feature:
    if isinstance(side, str):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[side.encode()]))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=side))


def write_examples(
    folder: Path,
    recipe_yaml: str,
    *,
    rows: int = 230,
    eval_rows: int = 50,
    shards: int = 3,
    vocabulary: int = 20,
) -> Path:
    """A finished examples folder without a transform graph."""
    folder.mkdir(parents=True, exist_ok=True)
    manifest = {"vocabulary_size": vocabulary, "rows_train": rows, "rows_eval": eval_rows}
    for part, count in (("train", rows), ("eval", eval_rows)):
        pairs = make_pairs(rows=count, vocabulary=vocabulary, seed=len(part))
        sizes = [len(block) for block in np.array_split(np.arange(count), shards)]
        paths = write_shards(folder, part, pairs, sizes=sizes)
        manifest[f"{part}_files"] = [
            {"name": Path(path).name, "rows": size} for path, size in zip(paths, sizes, strict=True)
        ]
    (folder / "recipe.yaml").write_text(recipe_yaml)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "_SUCCESS").touch()
    return folder
