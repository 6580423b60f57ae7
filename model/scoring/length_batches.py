"""Plans batches of a token budget: sentences by length, in few fixed shapes.

A batch has one of the shapes (rows, length) below whatever the data, so a compiled function sees
few of them, and a sentence's vector comes from the same arithmetic in every run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

TOKEN_BUDGET = 16_384
# Where each length ends with a batch of its own, small ones: MiniLM over 3,000 questions ran four
# times as fast as with the budget above, for a quarter of the padded tokens.
OWN_LENGTH_BUDGET = 1_024
LENGTHS = (*range(4, 17), 18, 20, 22, 24, 28, 32, 40, 48, 64, 96, 128, 192, 256, 384, 512)


@dataclass(frozen=True)
class Batch:
    """Sentences to encode together.

    Attributes:
        positions: which sentences, [n] with n ≤ rows.
        rows: rows of the batch's shape; those past n repeat the last sentence.
        length: tokens of the batch's shape.
    """

    positions: np.ndarray
    rows: int
    length: int


def batches_by_length(
    lengths: np.ndarray, *, own_length: bool = False, budget: int | None = None
) -> Iterator[Batch]:
    """Cuts sentences into batches, shortest first.

    What does not fill a batch of its own length moves to the next longer one, so only the
    last batch of all is padded with repeated rows.

    Args:
        lengths: tokens of each sentence, [n], each at least 1.
        own_length: keeps every sentence at its own length's shape, for encoders whose rounding
            depends on the padding; each length's last batch is then padded with repeated rows.
        budget: tokens of a batch, padding included; None takes the one that measured best.
    """
    budget = budget or (OWN_LENGTH_BUDGET if own_length else TOKEN_BUDGET)
    order = np.argsort(lengths, kind="stable")
    ordered = lengths[order]
    start = 0
    for length in _steps(int(ordered[-1]) if len(ordered) else 0):
        end = int(np.searchsorted(ordered, length, side="right"))
        rows = max(1, budget // length)
        last = own_length or end == len(ordered)
        while end - start >= rows or (last and start < end):
            yield Batch(order[start : min(end, start + rows)], rows, length)
            start = min(end, start + rows)


def _steps(longest: int) -> Iterator[int]:
    for length in LENGTHS:
        yield length
        if length >= longest:
            return
    while length < longest:  # longer than any recipe of ours allows
        length *= 2
        yield length


def packed_batches(lengths: np.ndarray, tokens: int) -> list[np.ndarray]:
    """Cuts sentences into batches of about as many tokens each, longest sentences first.

    For encoders that pad nothing: like lengths together keep their loops even, no more. The last
    ones are shorter, so that cores which share the batches end at about the same time.

    Args:
        lengths: tokens of each sentence, [n].
        tokens: how many a batch should have.

    Returns:
        The positions of each batch's sentences.
    """
    order = np.argsort(-lengths, kind="stable")
    ends = np.cumsum(lengths[order])
    total = int(ends[-1]) if len(ends) else 0
    cuts, at = [], 0
    while total - at > 0:
        at += max(min(tokens, (total - at) // 4), tokens // 8, 1)
        cuts.append(int(np.searchsorted(ends, at)) + 1)
    return [part for part in np.split(order, cuts) if len(part)]


def padded(values: np.ndarray, starts: np.ndarray, lengths: np.ndarray, batch: Batch) -> np.ndarray:
    """The ids of a batch, int32 [rows, length], padded on the right with 0."""
    positions = np.resize(batch.positions[-1:], batch.rows)
    positions[: len(batch.positions)] = batch.positions
    steps = np.arange(batch.length)
    inside = steps < lengths[positions, None]
    taken = np.where(inside, starts[positions, None] + steps, 0)
    return np.where(inside, values[taken], 0).astype(np.int32)
