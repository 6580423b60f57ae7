"""What the tests of finding share: a bundle without TensorFlow, and brute force over its scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from model.scoring.scorer_options import ScorerOptions
from pipelines import find

FIELDS = (pa.field("similarity", pa.float32()), pa.field("similarity_label", pa.int64()))
LETTERS = "abcdefgh"
HEAD = np.linspace(0.2, 1.2, len(LETTERS), dtype=np.float32)


class LetterScorer:
    """A sentence's vector counts its letters; similarities fall with the distance of vectors."""

    fields = FIELDS
    dimensions = len(LETTERS)

    def __init__(self, distance: str, threshold: float):
        self._distance, self._threshold = distance, threshold

    def encode(self, sentences: list[str]) -> np.ndarray:
        counts = [[text.count(letter) for letter in LETTERS] for text in sentences]
        return np.array(counts, np.float32).reshape(-1, len(LETTERS)) / np.float32(3)

    def compare(self, vectors: np.ndarray, first: np.ndarray, second: np.ndarray) -> list[pa.Array]:
        found = similarity(vectors[first], vectors[second], self._distance)
        return [pa.array(found), pa.array((found >= self._threshold).astype(np.int64))]


def similarity(u: np.ndarray, v: np.ndarray, distance: str) -> np.ndarray:
    """Rows of [n, d] and [n, d] → float32 [n]."""
    if distance == "manhattan":
        return np.exp(-np.abs(u - v).sum(-1)).astype(np.float32)
    if distance == "euclidean":
        return np.exp(-np.sqrt(((u - v) ** 2).sum(-1))).astype(np.float32)
    if distance == "head":  # letters count differently, which no distance of vectors says
        return np.exp(-(np.abs(u - v) * HEAD).sum(-1)).astype(np.float32)
    lengths = np.sqrt((u**2).sum(-1) * (v**2).sum(-1))
    products = (u * v).sum(-1)
    return np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)


@dataclass(frozen=True)
class LetterBundle:
    """In place of `BundleScorer`; the bundle's path is its distance and its fingerprint."""

    bundle: str
    options: ScorerOptions = field(default_factory=ScorerOptions)

    def verify(self) -> dict[str, object]:
        return {"fingerprint": self.bundle, "dimensions": len(LETTERS), "threshold": 0.7}

    def comparison(self) -> tuple[str, bool]:
        return "absdiff_product" if self.bundle == "head" else self.bundle, True

    def fields(self, manifest: dict[str, object]) -> tuple[pa.Field, ...]:
        return FIELDS

    def load(self) -> LetterScorer:
        return LetterScorer(self.bundle, 0.7)


def texts(count: int, seed: int = 1) -> list[str]:
    """Sentences of few letters: many are equal, some are of no letter that counts."""
    random = np.random.default_rng(seed)
    return [
        "".join(random.choice([*LETTERS, "x"], size=random.integers(1, 7))) for _ in range(count)
    ]


def table(
    sentences: Sequence[str | None], ids: Sequence | None = None, **more: Sequence
) -> pa.Table:
    columns = {"id": list(range(len(sentences))) if ids is None else ids, "sentence": sentences}
    return pa.table({**columns, **more})


def brute_force(
    sentences: Sequence[str], distance: str, least: float, others: Sequence[str] | None = None
) -> dict[tuple[int, int], float]:
    """All pairs of numbers of sentences with their similarity, one comparison each."""
    scorer = LetterScorer(distance, 0.7)
    u = scorer.encode(list(sentences))
    v = u if others is None else scorer.encode(list(others))
    found = {}
    for row in range(len(u)):
        first = row + 1 if others is None else 0
        similar = similarity(np.repeat(u[row : row + 1], len(v) - first, 0), v[first:], distance)
        for place in np.flatnonzero(similar >= np.float32(least)).tolist():
            found[row, first + place] = float(similar[place])
    return found


def run_find(output: str | Path, *flags: object, model: str = "manhattan") -> dict:
    """Runs the command in this process, with the bundle that was put in place."""
    return find.run(["--output", str(output), "--model", model, *map(str, flags)])


def read_pairs(output: Path) -> pa.Table:
    """All pairs that a run wrote."""
    paths = sorted(output.glob("*.parquet"))
    return pa.concat_tables([pq.read_table(path) for path in paths])


def as_pairs(found: pa.Table) -> dict[tuple, float]:
    """Ids → similarity; none may be there twice."""
    pairs = list(zip(found["id1"].to_pylist(), found["id2"].to_pylist(), strict=True))
    assert len(set(pairs)) == len(pairs)
    return dict(zip(pairs, found["similarity"].to_pylist(), strict=True))
