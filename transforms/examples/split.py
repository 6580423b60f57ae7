"""Parts pairs into training and evaluation by a hash of the unordered pair, or by groups of them.

The part a pair falls to depends on its two sentences, not on the row's place, the shard or the
machine. A pair, its mirror and all its repeats stay together. Split by pairs, a sentence may still
are in pairs of both parts. Split by groups, it may not; see `groups`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pyarrow as pa

from transforms.examples.sentence_keys import SentenceKeys
from transforms.hashing import pair_hash, text_hash


@dataclass(frozen=True)
class EvalSplit:
    """Which pairs belong to the evaluation part.

    Attributes:
        fraction: the share of the pairs that it gets, about.
        by: whether single pairs are held out, or groups of pairs that share sentences.
        held_out: by groups, the hashes of the sentences' keys that are held out, sorted; none until
            known.
        keys: what of a sentence counts, so that variants of one do not fall to both parts.
    """

    fraction: float
    by: Literal["pairs", "groups"] = "pairs"
    held_out: np.ndarray = field(
        default_factory=lambda: np.zeros(0, np.uint64), compare=False, repr=False
    )
    keys: SentenceKeys = field(default_factory=SentenceKeys)

    def takes(self, *sides: pa.Array) -> np.ndarray:
        """Whether each row of sentences [n] belongs to the evaluation part: bool [n].

        The first two sides decide: what else is in a row is in the same group.
        """
        if self.by == "pairs":
            return _place(pair_hash(*map(self.keys, sides[:2]))) < self.fraction
        hashes = text_hash(self.keys(sides[0]))
        # Looked up in the sorted hashes: np.isin would sort all of them again for each batch.
        first, past = (np.searchsorted(self.held_out, hashes, side) for side in ("left", "right"))
        return past > first


def _place(bits: np.ndarray) -> np.ndarray:
    """Hashes uint64 [n] → numbers from 0 to just below 1: the 53 bits that a float64 holds."""
    return (bits >> np.uint64(11)) / float(1 << 53)
