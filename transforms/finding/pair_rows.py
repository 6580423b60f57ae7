"""From pairs of sentences to pairs of rows, in one order, as they are written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.input.search_names import ID

if TYPE_CHECKING:
    from transforms.vector_blocks.vector_block import VectorBlock

ROWS_AT_ONCE = 65_536
LEFT, RIGHT = "left_", "right_"


def pair_schema(
    left: pa.Schema, right: pa.Schema, keep: Sequence[str], scores: Sequence[pa.Field]
) -> pa.Schema:
    """The schema of pairs: ids, sentences, kept columns of both sides, similarity and label.

    Args:
        left: see `transforms.input.sentence_rows.row_schema`.
        right: the same of the other table.
        keep: names of the kept columns.
        scores: the columns that a comparison fills.
    """
    fields = [pa.field("id1", left.field(ID).type), pa.field("id2", right.field(ID).type)]
    fields += [pa.field("sentence1", pa.string()), pa.field("sentence2", pa.string())]
    for prefix, schema in ((LEFT, left), (RIGHT, right)):
        fields += [pa.field(prefix + name, schema.field(name).type) for name in keep]
    return pa.schema([*fields, *scores])


class PairRows:
    """Two blocks side by side, and the pairs of rows that pairs of their sentences stand for.

    Attributes:
        block: the first block.
        vectors: of the sentences of both, float32 [n + m, d].
        offset: where those of the second begin.
    """

    def __init__(
        self,
        block: VectorBlock,
        other: VectorBlock,
        schema: pa.Schema,
        keep: Sequence[str],
        *,
        ordered: bool,
    ):
        """`ordered`: the row with the lesser id comes first; else the row of the first block."""
        self.block = block
        self._other = other
        self._schema = schema
        self._keep = keep
        self._ordered = ordered
        same = other is block
        self.offset = 0 if same else len(block)
        self.vectors = block.vectors if same else np.concatenate([block.vectors, other.vectors])
        self._ids = _field(block.rows, ID), _field(other.rows, ID)

    def sentences(self, first: np.ndarray, second: np.ndarray) -> tuple[pa.Array, pa.Array]:
        """The sentences of pairs of them, [n] each."""
        one, two = self.block.sentences, self._other.sentences
        return one.take(pa.array(first)), two.take(pa.array(second))

    def of_sentences(
        self, first: np.ndarray, second: np.ndarray, scores: Sequence[pa.Array], equal: str
    ) -> Iterator[pa.RecordBatch]:
        """The pairs of rows of pairs of sentences.

        Args:
            first: sentences of the first block, [n].
            second: sentences of the second, [n].
            scores: what the comparison said, arrays [n].
            equal: `all` pairs of rows, or of each sentence the `first` row alone.
        """
        ones = np.ones(len(first), np.int64)
        many = equal == "all"
        wide = self.block.counts[first] if many else ones
        deep = self._other.counts[second] if many else ones
        for part, place in _expanded(wide * deep):
            rows1 = self.block.starts[first[part]] + place // deep[part]
            rows2 = self._other.starts[second[part]] + place % deep[part]
            yield self._batch(first[part], second[part], rows1, rows2, scores, part)

    def of_equal(
        self, sentences: np.ndarray, scores: Sequence[pa.Array], equal: str
    ) -> Iterator[pa.RecordBatch]:
        """The pairs of rows that hold the same sentence.

        Args:
            sentences: of the first block, [n].
            scores: what the comparison says of each with itself, arrays [n].
            equal: `all` pairs, or each row with the `first` alone.
        """
        counts = self.block.counts[sentences]
        pairs = counts * (counts - 1) // 2 if equal == "all" else counts - 1
        for part, place in _expanded(pairs):
            if equal == "all":
                lesser, greater = _triangle(place)
            else:
                lesser, greater = np.zeros_like(place), place + 1
            starts, which = self.block.starts[sentences[part]], sentences[part]
            yield self._batch(which, which, starts + lesser, starts + greater, scores, part)

    def _batch(
        self,
        first: np.ndarray,
        second: np.ndarray,
        rows1: np.ndarray,
        rows2: np.ndarray,
        scores: Sequence[pa.Array],
        part: np.ndarray,
    ) -> pa.RecordBatch:
        ids1, ids2 = self._ids[0].take(pa.array(rows1)), self._ids[1].take(pa.array(rows2))
        turned = np.zeros(len(part), bool)
        if self._ordered:
            turned = pc.greater(ids1, ids2).to_numpy(zero_copy_only=False)
        sides = [self.sentences(first, second)]
        for name in self._keep:
            one, two = _field(self.block.rows, name), _field(self._other.rows, name)
            sides.append((one.take(pa.array(rows1)), two.take(pa.array(rows2))))
        (sentence1, sentence2), *kept = [_turned(one, two, turned) for one, two in sides]
        id1, id2 = _turned(ids1, ids2, turned)
        columns = [id1, id2, sentence1.cast(pa.string()), sentence2.cast(pa.string())]
        columns += [one for one, _ in kept] + [two for _, two in kept]
        columns += [column.take(pa.array(part)) for column in scores]
        return pa.RecordBatch.from_arrays(columns, schema=self._schema)


def _field(rows: pa.StructArray, name: str) -> pa.Array:
    return rows.field(rows.type.get_field_index(name))


def _turned(one: pa.Array, two: pa.Array, turned: np.ndarray) -> tuple[pa.Array, pa.Array]:
    """Both columns, exchanged where `turned`, bool [n], is true."""
    if not turned.any():
        return one, two
    both, numbers = pa.concat_arrays([one, two]), np.arange(len(turned))
    swapped = np.where(turned, numbers + len(turned), numbers)
    return both.take(pa.array(swapped)), both.take(pa.array((swapped + len(turned)) % len(both)))


def _expanded(counts: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Numbers of things that stand for `counts` [n] pieces each, piece by piece, in bounded parts.

    Yields:
        The thing and the number of the piece within it, int64 [k] each.
    """
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    for start in range(0, total, ROWS_AT_ONCE):
        pieces = np.arange(start, min(start + ROWS_AT_ONCE, total))
        things = np.searchsorted(ends, pieces, side="right")
        yield things, pieces - (ends[things] - counts[things])


def _triangle(places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The number of a pair → its members: 0 → (0, 1), 1 → (0, 2), 2 → (1, 2) and so on."""
    greater = ((1 + np.sqrt(1 + 8 * places.astype(np.float64))) / 2).astype(np.int64)
    greater -= greater * (greater - 1) // 2 > places  # a root may be off by one
    greater += (greater + 1) * greater // 2 <= places
    return places - greater * (greater - 1) // 2, greater
