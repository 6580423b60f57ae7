"""Start values of the embedding: word vectors of a file, or word2vec trained on the corpus."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from model.recipe import Recipe


def load_vectors(recipe: Recipe, examples: Any) -> tuple[np.ndarray, dict[str, float]]:
    """The vectors that a recipe asks for.

    Returns:
        Vectors [vocabulary_size, dimensions], and how many ids they cover.
    """
    return corpus_vectors(examples, recipe.embedding.dimensions, seed=recipe.training.seed)


def corpus_vectors(
    examples: Any, dimensions: int, *, seed: int
) -> tuple[np.ndarray, dict[str, float]]:
    """Trains word2vec on the sentences of the training part, one thread so that it repeats."""
    from gensim.models import Word2Vec

    sentences = list(_sentences(examples.train.files))
    trained = Word2Vec(
        sentences,
        vector_size=dimensions,
        window=5,
        min_count=1,
        sg=1,
        epochs=5,
        seed=seed,
        workers=1,
    )
    rng = np.random.default_rng(seed)
    vectors = rng.normal(0, 0.1, (examples.vocabulary_size, dimensions)).astype(np.float32)
    known = trained.wv.index_to_key
    vectors[[int(token) for token in known]] = trained.wv[known]
    return vectors, {"vector_coverage": len(known) / max(1, examples.vocabulary_size - 2)}


def _sentences(paths: Sequence[str]) -> Iterator[list[str]]:
    import tensorflow as tf

    features = {side: tf.io.RaggedFeature(tf.int64) for side in ("ids1", "ids2")}
    for block in tf.data.TFRecordDataset(list(paths), "GZIP").batch(8192):
        parsed = tf.io.parse_example(block, features)
        for side in features:
            yield from ([str(token) for token in ids] for ids in parsed[side].to_list())
