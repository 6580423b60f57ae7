"""Profiles scored pairs, for the comparison with what the bundle was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from model.recipe.recipe import similarity_range
from transforms.drift import SAMPLE, Profile, profile
from transforms.text.token_ids import UNKNOWN_ID

if TYPE_CHECKING:
    from model.bundle.loading import LoadedBundle


@dataclass(frozen=True)
class ProfileScores:
    """Counts similarities of a batch, and tokens of a sample of its sentences."""

    bundle: LoadedBundle

    def __call__(self, side1: pa.Array, side2: pa.Array, similarity: pa.Array) -> Profile:
        """Sentences of both sides [n] and their similarities, float32 [n] → counts."""
        recipe, tokens = self.bundle.recipe, None
        if not recipe.reads_text:
            step = -(-2 * len(side1) // SAMPLE)
            places = pa.array(np.arange(0, len(side1), step))
            sample = [text for side in (side1, side2) for text in side.take(places).to_pylist()]
            tokens = self.bundle.tokenize(np.array([text.encode() for text in sample], object))
        # BERT's word pieces leave next to nothing unknown, and have another id for it.
        unknown = None if recipe.text.tokenizer == "wordpiece" else UNKNOWN_ID
        return profile(similarity.to_numpy(), similarity_range(recipe), tokens, unknown)
