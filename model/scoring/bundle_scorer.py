"""The scoring handler: what a pipeline carries to its workers to turn pairs into columns.

It is small and picklable; the bundle is opened by `load`, in the worker. Only there is TensorFlow
imported.
"""

from __future__ import annotations

import contextlib
import copy
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from model.scoring.drift_profile import ProfileScores
from model.scoring.engine import Engine, KnownVectors
from model.scoring.scorer_options import ScorerOptions
from model.scoring.short_vectors import ShortVectors, check_dimensions, short_threshold
from transforms.lean_imports import uncollected
from transforms.quiet_tensorflow import import_tensorflow
from transforms.scoring.encode_once import Vectors
from transforms.storage import files


@dataclass(frozen=True)
class BundleScorer:
    """A bundle and how to score with it, not yet opened."""

    bundle: str
    options: ScorerOptions = field(default_factory=ScorerOptions)

    def verify(self) -> dict[str, Any]:
        """Checks the sums of the bundle's files, without TensorFlow; returns its manifest.

        Raises:
            UserError: the bundle is not complete, and names the file; or its vectors cannot be cut.
        """
        from model.bundle.loading import verify

        manifest = verify(self.bundle)
        check_dimensions(manifest, self.options.dimensions)
        return manifest

    def fields(self, manifest: dict[str, Any]) -> tuple[pa.Field, ...]:
        """The columns that scoring adds."""
        classes = manifest.get("classes")
        label = pa.string() if classes else pa.int64()
        return (
            pa.field(self.options.similarity_column, pa.float32()),
            pa.field(self.options.label_column, label),
            *(pa.field(f"probability_{name}", pa.float32()) for name in classes or ()),
        )

    def comparison(self) -> tuple[str, bool]:
        """The kind of comparison in the bundle's recipe, and whether it is symmetric."""
        from model.recipe.reading import read_recipe

        path = files.join(self.bundle, "recipe.yaml")
        recipe = read_recipe(files.read_bytes(path), source=path)
        return recipe.comparison.kind, recipe.symmetric

    def load(self) -> LoadedScorer:
        """Opens the bundle."""
        with uncollected():
            return self._load()

    def _load(self) -> LoadedScorer:
        import_tensorflow()
        from model.bundle.loading import load

        threads = self.options.threads or len(os.sched_getaffinity(0))
        _one_core_a_batch(threads)  # before the bundle: TensorFlow takes it only at its start
        bundle = load(self.bundle)
        cut = self.options.dimensions
        encoder = bundle if cut is None else ShortVectors(bundle, cut)
        engine = Engine(encoder, cache_mb=self.options.embedding_cache_mb, threads=threads)
        engine.warm_up()
        scorer = LoadedScorer(engine, self.fields(bundle.manifest), bundle.manifest, self.options)
        scorer.profile = ProfileScores(bundle)
        return scorer


def _one_core_a_batch(threads: int) -> None:
    """Lets each batch run on one core, and as many batches at once as there are cores.

    The matrices of a recurrent step are too small to share: two batches side by side ran at 477k
    tokens/s on two cores, one batch on both at 232k. It also fixes the order of additions.
    """
    import tensorflow as tf

    # TensorFlow runs already where something else of this process has used it.
    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(threads)


class LoadedScorer:
    """A `transforms.scoring.score_shards.Scorer` over the engine.

    Attributes:
        fields: the columns it fills.
        profile: counts what drift is computed from; None where it is not wanted.
    """

    profile: ProfileScores | None = None

    def __init__(
        self,
        engine: Engine,
        fields: tuple[pa.Field, ...],
        manifest: dict[str, Any],
        options: ScorerOptions,
    ):
        self.fields = fields
        self._engine = engine
        self._classes = manifest.get("classes")
        self._threshold = options.threshold
        if self._threshold is None:
            self._threshold = short_threshold(manifest, options.dimensions)
        self._counts: tuple[str, ...] = ("sentences", "sentences_encoded", "cache_hits")

    def score(self, side1: pa.Array, side2: pa.Array) -> tuple[list[pa.Array], dict[str, int]]:
        """Scores pairs into the columns of `fields`."""
        compared, counts = self._engine.score(side1, side2)
        return self._columns(compared), {name: counts[name] for name in self._counts}

    def compare(self, vectors: np.ndarray, first: np.ndarray, second: np.ndarray) -> list[pa.Array]:
        """Compares sentences by their vectors, with the same bits that `score` gives.

        Args:
            vectors: float32 [n, d].
            first: rows of the first sentences, [m], m > 0.
            second: rows of the second sentences, [m].

        Returns:
            One array [m] for each of `fields`.
        """
        return self._columns(self._engine.compare(vectors, first, second))

    def _columns(self, compared: dict[str, np.ndarray]) -> list[pa.Array]:
        similarity = compared["similarity"].astype(np.float32)
        labels = compared["label"]
        if self._threshold is not None and not self._classes:
            labels = similarity >= np.float32(self._threshold)
        return [pa.array(similarity), *self._labels(labels, compared)]

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        return self._engine.dimensions

    def encode(self, sentences: list[str]) -> np.ndarray:
        """Distinct sentences [n] → vectors, float32 [n, d]."""
        return self._engine.encode(sentences)

    def with_vectors(self, vectors: Sequence[Vectors]) -> LoadedScorer:
        """The same scorer, with vectors of sentences it need not encode."""
        scorer = copy.copy(self)
        sentences = [text for part in vectors for text in part.sentences.to_pylist()]
        known = KnownVectors(sentences, np.concatenate([part.vectors for part in vectors]))
        scorer._engine = self._engine.with_vectors(known)
        scorer._counts = ("sentences_encoded",)  # who made the vectors has counted the sentences
        return scorer

    def _labels(self, labels: np.ndarray, compared: dict[str, np.ndarray]) -> list[pa.Array]:
        if not self._classes:
            return [pa.array(labels.astype(np.int64))]
        names = pa.array(self._classes, pa.string()).take(pa.array(labels))
        return [names, *(pa.array(column) for column in compared["probabilities"].T)]
