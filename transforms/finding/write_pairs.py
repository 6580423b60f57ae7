"""Writes pairs of sentences as pairs of rows, once the comparison has said how similar they are."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from transforms.accounts.claims import Claim
from transforms.accounts.shard_writer import ShardWriter
from transforms.finding.best_partners import Pairs
from transforms.finding.near_blocks import Joined, JoinParts
from transforms.finding.pair_rows import PairRows
from transforms.labelling.known_labels import SIMILAR, UNKNOWN
from transforms.vector_blocks.vector_block import VectorBlock
from transforms.vectors.reach import reachable

COMPARED_AT_ONCE = 65_536
FOUND, EQUAL = "pairs_found", "pairs_equal"
UNSURE = "pairs_unsure"  # too similar to be called apart without a label
TRAINING_FIELDS = (pa.field("label", pa.int64()), pa.field("label_source", pa.string()))


@dataclass(frozen=True)
class JoinSettings:
    """What determines the pairs, apart from the blocks and the bundle.

    Attributes:
        output: the output folder.
        run_key: see `transforms.accounts.shard_account.run_key`.
        inputs: fingerprint of all that is read.
        least: the least similarity of a pair.
        schema: of the pairs.
        ordered: whether the row with the lesser id comes first; else the one of the left table.
        keep: kept columns.
        equal: all pairs of rows with equal sentences, or each with the first of them.
        top_k: how many partners of each sentence of the left side, the most similar; None for all.
        compression: codec of the files written.
        run: that has claimed the output folder; None where no other writer is kept out.
        labels: a file of known labels; with it pairs are written to be trained on.
        most: the greatest similarity of a pair without a label, where there are labels.
    """

    output: str
    run_key: str
    inputs: str
    least: float
    schema: pa.Schema
    ordered: bool
    keep: tuple[str, ...] = ()
    equal: str = "all"
    top_k: int | None = None
    compression: str = "zstd"
    run: str | None = None
    labels: str | None = None
    most: float = math.inf

    @property
    def claim(self) -> Claim:
        """What the run writes by."""
        return Claim(self.output, self.run)


def training_columns(known: np.ndarray) -> list[pa.Array]:
    """What is known of pairs [n] → `TRAINING_FIELDS`: one without a label is taken to be apart."""
    sources = pa.array(np.where(known == UNKNOWN, "unlabelled", "labelled"), pa.string())
    return [pa.array((known == SIMILAR).astype(np.int64)), sources]


@dataclass(frozen=True)
class PairWriter:
    """What pairs are written by.

    Attributes:
        parts: compare them.
        settings: what decides the pairs.
        writer: of the unit's file.
        joined: counts them.
    """

    parts: JoinParts
    settings: JoinSettings
    writer: ShardWriter
    joined: Joined

    def rows(self, block: VectorBlock, other: VectorBlock) -> PairRows:
        """Two blocks side by side."""
        settings = self.settings
        return PairRows(block, other, settings.schema, settings.keep, ordered=settings.ordered)

    def write_near(self, rows: PairRows, near: Iterator[Pairs]) -> None:
        """Writes those of the near pairs that are similar enough."""
        for pairs in batched(near):
            if len(pairs[0]):
                self._write(rows, *pairs)

    def _write(self, rows: PairRows, first: np.ndarray, second: np.ndarray) -> None:
        labels, settings = self.parts.labels, self.settings
        # `rows.vectors` holds one block after the other; the offset is 0 within one block.
        columns = self.parts.comparer.compare(rows.vectors, first, second + rows.offset)
        similar = reachable(columns[0], settings.least)
        self.joined.counts[FOUND] += int(similar.sum())
        equal = settings.equal
        if labels is not None:
            known = labels.look_up(*rows.sentences(first, second))
            too_similar = columns[0].to_numpy(zero_copy_only=False) > np.float32(settings.most)
            unsure = (known == UNKNOWN) & too_similar
            self.joined.counts[UNSURE] += int((similar & unsure).sum())
            # To train on, one pair of rows is enough for each pair of sentences.
            columns, equal = [*columns, *training_columns(known)], "first"
            similar &= ~unsure
        scores = [column.filter(pa.array(similar)) for column in columns]
        for batch in rows.of_sentences(first[similar], second[similar], scores, equal):
            self.writer.write(batch)

    def write_equal(self, rows: PairRows) -> None:
        """Pairs of rows with the same sentence, which is compared with itself, once.

        None where pairs are to be trained on: they say nothing.
        """
        several = np.flatnonzero(rows.block.counts > 1)
        if self.parts.labels is not None:
            return
        for start in range(0, len(several), COMPARED_AT_ONCE):
            part = several[start : start + COMPARED_AT_ONCE]
            columns = self.parts.comparer.compare(rows.vectors, part, part)
            similar = reachable(columns[0], self.settings.least)
            scores = [column.filter(pa.array(similar)) for column in columns]
            for batch in rows.of_equal(part[similar], scores, self.settings.equal):
                self.joined.counts[EQUAL] += batch.num_rows
                self.writer.write(batch)


def batched(
    parts: Iterator[Pairs],
) -> Iterator[Pairs]:
    """The same pairs in batches of one size, but the last: what is compared at once."""
    held: list[Pairs] = []
    size = 0
    for part in parts:
        held.append(part)
        size += len(part[0])
        while size >= COMPARED_AT_ONCE:
            first, second = (np.concatenate(side) for side in zip(*held, strict=True))
            yield first[:COMPARED_AT_ONCE], second[:COMPARED_AT_ONCE]
            held = [(first[COMPARED_AT_ONCE:], second[COMPARED_AT_ONCE:])]
            size -= COMPARED_AT_ONCE
    if size:
        first, second = (np.concatenate(side) for side in zip(*held, strict=True))
        yield first, second
