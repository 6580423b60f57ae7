"""Sentences that are known already, with their vectors: which of them are nearest to a new one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.columns import as_text, holds_text
from transforms.errors import UserError
from transforms.input.input_files import find
from transforms.input.parquet_columns import open_parquet
from transforms.scoring.embedding_store import open_store
from transforms.storage import files
from transforms.text_keys import sentence_keys

COLUMNS = ("sentence", "sentence1", "sentence2")
MOST_ENCODED = 5_000  # without a store: more would take longer than a person waits at a keyboard
_BATCH = 256


@dataclass(frozen=True)
class KnownSentences:
    """Sentences [n] and their vectors [n, d]."""

    texts: Sequence[str]
    vectors: np.ndarray

    def nearest(self, bundle: Any, sentence: str, most: int) -> list[tuple[float, str]]:
        """The most similar of them by the bundle's comparison, without the sentence itself."""
        if not self.texts:
            return []
        one = np.broadcast_to(bundle.encode(np.array([sentence], object)), self.vectors.shape)
        similarity = bundle.compare(one, self.vectors)["similarity"]
        order = np.argsort(-similarity, kind="stable")[: most + 1]
        found = [(float(similarity[place]), self.texts[place]) for place in order.tolist()]
        return [each for each in found if each[1] != sentence][:most]


def read_known(bundle: Any, patterns: Sequence[str], store: str | None) -> KnownSentences:
    """The sentences of Parquet files, with vectors from a store, or encoded where there is none.

    Args:
        bundle: an opened bundle.
        patterns: of Parquet files with columns `sentence`, `sentence1` or `sentence2`.
        store: folder of the bundle's embedding store; sentences that it does not hold are left out.

    Raises:
        UserError: no such columns, the store is another bundle's, or there is too much to encode.
    """
    texts = read_sentences(patterns)
    if store is None:
        if len(texts) > MOST_ENCODED:
            raise UserError(
                f"--known holds {len(texts):,} sentences, more than {MOST_ENCODED:,} to encode at "
                "once; give --embedding_store, which score and find fill"
            )
        return KnownSentences(texts, _encoded(bundle, texts))
    opened = open_store(store)
    if opened.fingerprint != bundle.manifest["fingerprint"]:
        raise UserError(f"the embedding store {store} holds vectors of another bundle")
    vectors = np.zeros((len(texts), opened.dimensions), np.float32)
    stored = opened.look_up(sentence_keys(texts), vectors)
    return KnownSentences([texts[place] for place in np.flatnonzero(stored)], vectors[stored])


def read_sentences(patterns: Sequence[str]) -> list[str]:
    """The distinct sentences of Parquet files.

    Raises:
        UserError: a file has none of the columns.
    """
    found: dict[str, None] = {}
    for source in find(patterns):
        with files.open_input(source.path) as file:
            parquet = open_parquet(file)
            names = [
                field.name
                for field in parquet.schema_arrow
                if field.name in COLUMNS and holds_text(field.type)
            ]
            if not names:
                raise UserError(
                    f"--known {source.path}: expected text columns {', '.join(COLUMNS)}; it has "
                    f"{', '.join(parquet.schema_arrow.names[:12])}"
                )
            for batch in parquet.iter_batches(columns=names):
                found |= dict.fromkeys(_distinct(batch))
    return list(found)


def _distinct(batch: pa.RecordBatch) -> list[str]:
    """The sentences of a batch, without nulls and blanks."""
    columns = [as_text(column) for column in batch.columns]
    texts = pc.unique(pa.concat_arrays(columns)).drop_null()
    return [text for text in texts.to_pylist() if text.strip()]


def _encoded(bundle: Any, texts: Sequence[str]) -> np.ndarray:
    parts = [
        bundle.encode(np.array(texts[start : start + _BATCH], object))
        for start in range(0, len(texts), _BATCH)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)
