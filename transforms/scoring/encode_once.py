"""Encodes each distinct sentence of the whole input once, and sends its vector to its shards.

shards → their distinct sentences, by bucket of the sentence's key → each bucket encoded → the
vectors back to every shard that needs them. A frequent sentence is requested once per shard, not
once per row, so no worker gets more requests for it than there are shards; and batches travel,
never single rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.utils.shared import Shared

from transforms.input.read_shards import read_shard
from transforms.input.shards import Shard
from transforms.pairs import PairColumns, cut_sentences, split_rows
from transforms.scoring.embedding_store import EmbeddingStore
from transforms.text_keys import sentence_keys

# A bucket's vectors are in one worker's memory at once: 100,000 of 512 floats take 200 MB.
BUCKET_SENTENCES = 100_000
MAX_BUCKETS = 1 << 24  # for 8 · 10¹¹ pairs; from there on they grow


class VectorEncoder(Protocol):
    """What encodes sentences: the engine over a bundle, or a fake in a test."""

    @property
    def dimensions(self) -> int:
        """Length d of a vector."""

    def encode(self, sentences: list[str]) -> np.ndarray:
        """Distinct sentences [n] → vectors, float32 [n, d]."""
        ...


@dataclass(frozen=True)
class Vectors:
    """Sentences and their vectors, [n] and float32 [n, d]."""

    sentences: pa.Array
    vectors: np.ndarray


def bucket_count(rows: int) -> int:
    """How many buckets the sentences of a number of pairs are encoded in: a power of two."""
    # How many of the 2 · rows sentences differ is not known before they are read, so all may. A
    # power of two, and leading bits: with more rows a bucket splits, and its sentences stay near.
    wanted = max(1, -(-2 * rows // BUCKET_SENTENCES))
    return min(MAX_BUCKETS, 1 << (wanted - 1).bit_length())


def distinct_sentences(
    shard: Shard, columns: PairColumns, max_chars: int, truncate: bool = False
) -> pa.Array:
    """The distinct sentences of a shard's usable rows, in order of first use."""
    distinct = pa.array([], pa.large_string())
    for batch in read_shard(shard, columns=columns.sides):
        good, _ = split_rows(batch, columns, max_chars=max_chars, truncate=truncate)
        sides, _ = cut_sentences(good, columns, max_chars)
        distinct = pa.concat_arrays([distinct, *sides]).unique()
    return distinct


def by_bucket(distinct: pa.Array, buckets: int) -> Iterator[tuple[int, pa.Array]]:
    """Parts sentences by the leading bits of their keys."""
    # By the sentence alone, so that all shards send it to the same bucket, and by the key that the
    # store is ordered by, so that a bucket reads and writes a range of the store.
    keys = sentence_keys(distinct.to_pylist())
    leading = np.array([int.from_bytes(key.as_py()[:4], "big") for key in keys], np.int64)
    numbers = leading * buckets >> 32
    order = np.argsort(numbers, kind="stable")
    bounds = np.flatnonzero(np.diff(numbers[order], prepend=-1, append=buckets))
    for start, end in pairwise(bounds):
        yield int(numbers[order[start]]), distinct.take(pa.array(order[start:end]))


def encode_bucket(
    wanted: Iterable[tuple[str, pa.Array]], encoder: VectorEncoder, store: EmbeddingStore | None
) -> tuple[list[tuple[str, Vectors]], dict[str, int]]:
    """Encodes the sentences of a bucket, each once.

    Args:
        wanted: shard names with the sentences they need.
        encoder: what encodes.
        store: vectors of earlier runs; new ones are added to it.

    Returns:
        For each shard its sentences' vectors, and counts.
    """
    by_shard: dict[str, list[pa.Array]] = defaultdict(list)
    for name, array in wanted:
        by_shard[name].append(array)
    sentences = {name: pa.concat_arrays(arrays).unique() for name, arrays in by_shard.items()}
    distinct = pa.concat_arrays(list(sentences.values())).unique()
    distinct = distinct.take(pc.sort_indices(distinct))  # the order of arrival must not matter
    vectors, fresh = encode_stored(distinct.to_pylist(), encoder, store)
    answers = [
        (name, Vectors(array, vectors[pc.index_in(array, value_set=distinct).to_numpy()]))
        for name, array in sentences.items()
    ]
    return answers, {"sentences": len(distinct), "sentences_encoded": fresh}


def encode_stored(
    texts: list[str], encoder: VectorEncoder, store: EmbeddingStore | None
) -> tuple[np.ndarray, int]:
    """Distinct sentences [n] → vectors, float32 [n, d], and how many the store did not have.

    What was missing is added to it.
    """
    if store is None:
        return encoder.encode(texts), len(texts)
    vectors = np.empty((len(texts), encoder.dimensions), np.float32)
    keys = sentence_keys(texts)
    missing = np.flatnonzero(~store.look_up(keys, vectors))
    if len(missing):
        vectors[missing] = encoder.encode([texts[place] for place in missing])
        store.add(keys.take(pa.array(missing)), vectors[missing])
    return vectors, len(missing)


class EncodeOnce(beam.PTransform):
    """Shards → (shard, its sentences' vectors), and counts of sentences.

    Args:
        load_encoder: called once in each worker process; picklable.
        shared: holds the one copy of the model in a process.
        columns: names of the sentence columns.
        max_chars: the longest sentence that is not truncated.
        truncate: encode the beginning of longer ones.
        buckets: how many pieces the sentences are encoded in.
        store: vectors of earlier runs, or None.
    """

    def __init__(
        self,
        load_encoder: Callable[[], Any],
        *,
        shared: Shared,
        columns: PairColumns,
        max_chars: int,
        truncate: bool = False,
        buckets: int,
        store: EmbeddingStore | None = None,
    ):
        super().__init__()
        self._load_encoder = load_encoder
        self._shared = shared
        self._columns = columns
        self._max_chars = max_chars
        self._truncate = truncate
        self._buckets = buckets
        self._store = store

    def expand(self, shards: beam.PCollection) -> dict[str, beam.PCollection]:
        named = shards | "Name shards" >> beam.Map(lambda shard: (shard.name, shard))
        encoded = (
            shards
            | "List sentences"
            >> beam.FlatMap(
                _list_sentences, self._columns, self._max_chars, self._truncate, self._buckets
            )
            | "Gather buckets" >> beam.GroupByKey()
            | "Encode bucket"
            >> beam.ParDo(
                _EncodeBucket(self._load_encoder, self._shared, self._store)
            ).with_outputs("counts", main="vectors")
        )
        shards_with_vectors = (
            {"shard": named, "vectors": encoded.vectors}
            # A shard that has no usable sentence gets no vectors, but is joined all the same.
            | "Bring vectors home" >> beam.CoGroupByKey()
            | "Join" >> beam.MapTuple(_join)
        )
        return {"shards": shards_with_vectors, "counts": encoded.counts}


def _list_sentences(
    shard: Shard, columns: PairColumns, max_chars: int, truncate: bool, buckets: int
) -> Iterator[tuple[int, tuple[str, pa.Array]]]:
    distinct = distinct_sentences(shard, columns, max_chars, truncate)
    for bucket, array in by_bucket(distinct, buckets):
        yield bucket, (shard.name, array)


def _join(_: str, found: dict[str, Any]) -> tuple[Shard, list[Vectors]]:
    (shard,) = found["shard"]
    return shard, list(found["vectors"])


class _EncodeBucket(beam.DoFn):
    def __init__(
        self, load_encoder: Callable[[], Any], shared: Shared, store: EmbeddingStore | None
    ):
        self._load_encoder = load_encoder
        self._shared = shared
        self._store = store

    def setup(self) -> None:
        self._encoder = self._shared.acquire(self._load_encoder, tag="model")

    def process(self, bucket: tuple[int, Iterable[tuple[str, pa.Array]]]) -> Iterator[Any]:
        answers, counts = encode_bucket(bucket[1], self._encoder, self._store)
        yield from answers
        yield beam.pvalue.TaggedOutput("counts", counts)
