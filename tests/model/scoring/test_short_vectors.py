"""Vectors cut to their first floats: checked, encoded, compared and labelled."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from model.scoring.bundle_scorer import BundleScorer, ScorerOptions
from model.scoring.short_vectors import check_dimensions, short_threshold
from pipelines.options.score_options import parse
from tests.model.tiny_bundle import SENTENCES, build, export, ids_of, write_graph
from tests.model.tiny_recipes import recipe
from transforms.errors import UserError

MANIFEST = {"shorter": {"2": 0.25, "4": 0.75}}


def test_only_trained_numbers_of_floats_are_taken():
    check_dimensions(MANIFEST, 4)
    check_dimensions({}, None)
    with pytest.raises(UserError, match="--dimensions 3: .* cut to 2, 4"):
        check_dimensions(MANIFEST, 3)
    with pytest.raises(UserError, match="cut to none: its recipe's loss has no matryoshka"):
        check_dimensions({}, 4)
    assert short_threshold(MANIFEST, 2) == 0.25 and short_threshold(MANIFEST, None) is None
    begin = ["--input", "a", "--model", "m", "--output", "o", "--dimensions", "4"]
    assert parse(begin).identity()["scoring"]["dimensions"] == 4
    with pytest.raises(UserError, match="--embedding_store all of them"):
        parse([*begin, "--embedding_store", "s"])


def test_a_bundle_scores_by_first_floats_with_their_own_threshold(tmp_path):
    rules = recipe(
        comparison={"kind": "cosine"},
        loss={"kind": "cosent", "matryoshka": [2]},
    )
    siamese = build(rules)
    graph = write_graph(tmp_path / "graph", tokenizer="char", max_tokens=16)
    metrics = {"vocabulary_size": 200, "shorter": {"2": {"threshold": 0.6}}}
    folder = export(tmp_path / "bundle", siamese, rules, graph, metrics=metrics, threshold=0.9)
    scorer = BundleScorer(folder, ScorerOptions(dimensions=2, threads=1))
    assert scorer.verify()["shorter"] == {"2": 0.6}
    first, second = SENTENCES[:3], SENTENCES[3:]
    (similarity, label), _ = scorer.load().score(*(pa.array(side) for side in (first, second)))
    vectors = np.asarray(siamese.encoder(ids_of(graph, SENTENCES)))[:, :2].astype(float)
    unit = vectors / np.linalg.norm(vectors, axis=1)[:, None]
    expected = (1 + (unit[:3] * unit[3:]).sum(axis=1)) / 2
    np.testing.assert_allclose(similarity, expected, atol=1e-5)
    assert label.to_pylist() == (expected >= 0.6).astype(int).tolist()
    whole, _ = (
        BundleScorer(folder, ScorerOptions(threads=1))
        .load()
        .score(pa.array(first), pa.array(second))
    )
    assert np.abs(np.asarray(whole[0]) - expected).max() > 1e-3
