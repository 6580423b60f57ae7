"""Start values of the embedding: word vectors of a file, or word2vec trained on the corpus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
import tensorflow as tf

from model.dataset.examples import Examples, read_vocabulary
from model.initial.word_vector_files import read_word_vectors
from model.recipe.paths import resolve_path
from model.recipe.recipe import Recipe
from transforms.errors import UserError

CORPUS = "corpus"
RESERVED_IDS = 2  # padding and out-of-vocabulary come before the vocabulary
MOST_SENTENCES = 2_000_000  # to train vectors on; more do not make them better, only later


def load_vectors(recipe: Recipe, examples: Examples) -> tuple[np.ndarray, dict[str, float]]:
    """The vectors that a recipe asks for.

    Returns:
        Vectors, float32 [vocabulary_size, dimensions], and `vector_coverage`: the share of the
        vocabulary that has its own vector.

    Raises:
        UserError: a file is missing, damaged, or of other dimensions.
    """
    spec = recipe.embedding
    assert spec is not None and spec.vectors is not None
    seed = recipe.training.seed
    if spec.vectors == CORPUS:
        sentences = _Repeatable(examples.train.files)
        known = corpus_vectors(sentences, spec.dimensions, seed=seed)
    else:
        vocabulary = read_vocabulary(examples.folder)
        path = resolve_path(spec.vectors)
        found = read_word_vectors(path, set(vocabulary), spec.dimensions)
        ids = {word: number for number, word in enumerate(vocabulary, start=RESERVED_IDS)}
        known = {ids[word]: vector for word, vector in found.items()}
    vectors = fill_matrix(known, examples.vocabulary_size, spec.dimensions, seed=seed)
    covered = sum(number >= RESERVED_IDS for number in known)
    words = examples.vocabulary_size - RESERVED_IDS
    print(f"{covered} of {words} vocabulary entries have a vector from {spec.vectors}", flush=True)
    return vectors, {"vector_coverage": covered / max(1, words)}


def fill_matrix(
    known: dict[int, np.ndarray], size: int, dimensions: int, *, seed: int
) -> np.ndarray:
    """Known vectors of ids → float32 [size, dimensions].

    Unknown ids get random vectors as large as the known ones are, and padding (0) gets zeros.
    """
    scale = float(np.std(list(known.values()))) if known else 0.05
    rng = np.random.default_rng(seed)
    vectors = rng.normal(0, scale, (size, dimensions)).astype(np.float32)
    if known:
        vectors[list(known)] = np.stack(list(known.values()))
    vectors[0] = 0
    return vectors


def corpus_vectors(
    sentences: Iterable[Sequence[int | str]], dimensions: int, *, seed: int
) -> dict[int, np.ndarray]:
    """Vectors of the ids in sentences, by word2vec (skip-gram; Mikolov et al. 2013).

    On one thread, so that it comes out the same every time.

    Args:
        sentences: lists of ids; gone through several times.
        dimensions: length of a vector.
        seed: of the start values.
    """
    try:
        from gensim.models import Word2Vec
    except ImportError:
        raise UserError(
            "embedding.vectors: corpus needs the package gensim; install it with "
            "pip install gensim, or give a file of word vectors"
        ) from None
    trained = Word2Vec(
        sentences,
        vector_size=dimensions,
        window=5,
        min_count=1,
        sg=1,
        epochs=5,
        seed=seed,
        workers=1,
    ).wv
    return {int(number): trained[number] for number in trained.index_to_key}


def trained_ids(recipe: Recipe, examples: Examples) -> np.ndarray | None:
    """The ids in the training part, ascending, where only their vectors are to be trained.

    None for encoders whose table of vectors is trained completely, or not at all.
    """
    if not (recipe.encoder_kind.trains_used_ids and getattr(recipe.encoder, "trainable", True)):
        return None
    used = np.zeros(examples.vocabulary_size, bool)
    for ids in _ids(examples.train.files):
        used[ids] = True
    return np.flatnonzero(used).astype(np.int32)


class _Repeatable:
    """The sentences of example files as lists of ids (as text), read again each time."""

    def __init__(self, paths: Sequence[str]):
        self._paths = list(paths)

    def __iter__(self) -> Iterator[list[str]]:
        return islice(_sentences(self._paths), MOST_SENTENCES)


def distinct_sentences(paths: Sequence[str]) -> list[tuple[int, ...]]:
    """The distinct sentences of example files as tuples of ids, in the order they are met."""
    met: dict[tuple[int, ...], None] = {}
    for ids in _Repeatable(paths):
        met.setdefault(tuple(map(int, ids)))
    return list(met)


def _sentences(paths: list[str]) -> Iterator[list[str]]:
    for parsed in _parsed(paths):
        yield from ([str(token) for token in ids] for ids in parsed.to_list())


def _ids(paths: Sequence[str]) -> Iterator[np.ndarray]:
    """The ids in blocks of example files, each block's in a row."""
    for parsed in _parsed(paths):
        yield parsed.flat_values.numpy()


def _parsed(paths: Sequence[str]) -> Iterator[tf.RaggedTensor]:
    features = {side: tf.io.RaggedFeature(tf.int64) for side in ("ids1", "ids2")}
    for block in tf.data.TFRecordDataset(list(paths), "GZIP").batch(8192):
        parsed = tf.io.parse_example(block, features)
        yield from (parsed[side] for side in features)
