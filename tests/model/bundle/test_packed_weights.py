"""The arrays for C++ in a bundle: the vectors of the Keras encoder and of the SavedModel."""

from __future__ import annotations

import numpy as np
import pytest

from model.bundle.loading import PACKED, load
from model.bundle.packed_weights import packed_weights
from model.bundle.precision import in_precision
from model.kernels import library
from model.kernels.encoders import open_encoder
from model.network.encoders import build_encoder
from model.recipe import parts
from model.scoring.engine import Engine
from tests.model.kernels.arrays import cnn_arrays
from tests.model.network.test_encoders import bert_recipe
from tests.model.tiny_bundle import SENTENCES, VOCABULARY_SIZE, build, export, write_graph
from tests.model.tiny_recipes import recipe
from tests.model.tiny_universal import SMALL, write_weights
from transforms.errors import UserError

needs_library = pytest.mark.skipif(library.open_library() is None, reason="not built here")


def random_ids(rng, rows: int, longest: int) -> np.ndarray:
    ids = rng.integers(1, VOCABULARY_SIZE, (rows, longest)).astype(np.int32)
    return ids * (np.arange(longest) < rng.integers(1, longest + 1, rows)[:, None])


def packed_vectors(encoder, rules, ids: np.ndarray) -> np.ndarray:
    packed = open_encoder(packed_weights(encoder, rules))
    lengths = (ids > 0).sum(1)
    return packed.encode(ids[ids > 0], np.cumsum(lengths) - lengths, lengths)


@needs_library
@pytest.mark.parametrize("pooling", ["last", "mean", "max", "mean_max"])
def test_a_bilstm_is_that_of_keras(pooling):
    spec = {"kind": "bilstm", "units": [6, 3], "dropout": 0.5, "pooling": pooling}
    rules = recipe(encoder=spec)
    encoder = build(rules).encoder
    ids = random_ids(np.random.default_rng(0), 40, 11)
    expected = encoder(ids, training=False)
    np.testing.assert_allclose(packed_vectors(encoder, rules, ids), expected, atol=1e-5)


@needs_library
@pytest.mark.parametrize("pooling", ["mean", "max", "mean_max"])
@pytest.mark.parametrize("kind", ["cnn", "transformer"])
def test_an_encoder_from_scratch_is_that_of_keras(kind, pooling):
    sizes = {
        "cnn": {"filters": 10, "widths": [1, 2, 3, 4]},
        "transformer": {"layers": 2, "heads": 2, "feed_forward": 40},
    }
    spec = {"kind": kind, "dropout": 0.5, "pooling": pooling, **sizes[kind]}
    rules = recipe(encoder=spec, embedding={"dimensions": 32})
    encoder = build(rules).encoder
    rng = np.random.default_rng(0)
    encoder.set_weights([rng.normal(0, 0.5, each.shape) for each in encoder.get_weights()])
    ids = random_ids(rng, 40, 11)
    expected = encoder(ids, training=False)
    np.testing.assert_allclose(packed_vectors(encoder, rules, ids), expected, atol=1e-5)


@needs_library
@pytest.mark.parametrize(("pooling", "normalize"), [("cls", False), ("mean", True), ("max", False)])
def test_a_bert_is_that_of_keras(tmp_path, pooling, normalize):
    keras_hub = pytest.importorskip("keras_hub")
    keras_hub.models.BertBackbone(
        vocabulary_size=VOCABULARY_SIZE, num_layers=2, num_heads=2, hidden_dim=64,
        intermediate_dim=100, max_sequence_length=16,
    ).save_to_preset(str(tmp_path))  # fmt: skip
    spec = {"kind": "bert", "preset": str(tmp_path), "pooling": pooling, "normalize": normalize}
    rules = bert_recipe(str(tmp_path)).model_copy(update={"encoder": parts.Bert(**spec)})
    encoder = build(rules).encoder
    ids = random_ids(np.random.default_rng(1), 30, 16)
    expected = encoder(ids, training=False)
    np.testing.assert_allclose(packed_vectors(encoder, rules, ids), expected, atol=1e-5)


@needs_library
@pytest.mark.parametrize(("trained", "normalize"), [(False, True), (True, False)])
def test_a_universal_encoder_is_that_of_keras(tmp_path, trained, normalize):
    write_weights(tmp_path)
    spec = {"kind": "universal", "preset": str(tmp_path), "normalize": normalize}
    text = {"tokenizer": "sentencepiece", "vocabulary": "sp.model"}
    rules = recipe(embedding=None, encoder=spec, text=text)
    some = np.array([3, 17, 40]) if trained else None
    encoder = build_encoder(rules, vocabulary_size=SMALL, trained_ids=some)
    if trained:
        changes = encoder.get_layer("table").changes
        changes.assign(np.random.default_rng(2).normal(0, 5, changes.shape))
    rng = np.random.default_rng(3)
    ids = rng.integers(1, SMALL, (30, 16)) * (np.arange(16) < rng.integers(1, 17, 30)[:, None])
    expected = encoder(ids.astype(np.int32), training=False)
    found = packed_vectors(encoder, rules, ids.astype(np.int32))
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    "spec",
    [
        {"kind": "cnn", "pooling": "attention"},
        {"kind": "transformer", "heads": 1, "pooling": "attention"},
        {"kind": "transformer", "heads": 3},
        {"kind": "bilstm", "units": [4], "pooling": "attention"},
    ],
)
def test_what_c_does_not_know_has_no_arrays(spec):
    rules = recipe(encoder=spec)
    assert packed_weights(build(rules).encoder, rules) is None


def test_convolutions_have_no_other_precision(tmp_path):
    np.savez(tmp_path / PACKED, **cnn_arrays(1, size=4, filters=3, widths=[2], pooling="max"))
    sentences = np.array([1, 2], np.int32), np.array([2])
    with pytest.raises(UserError, match="int16 would save nothing"):
        in_precision(str(tmp_path), "int16", sentences)


@pytest.mark.parametrize("kind", ["bilstm", "cnn", "transformer"])
def test_a_bundle_scores_the_same_with_the_library_and_without(tmp_path, monkeypatch, kind):
    sizes = {"bilstm": {"units": [4, 3]}, "cnn": {}, "transformer": {"heads": 2}}
    rules = recipe(encoder={"kind": kind, **sizes[kind]}, embedding={"dimensions": 32})
    graph = write_graph(tmp_path / "graph", tokenizer="char")
    folder = export(tmp_path / "bundle", build(rules), rules, graph)
    assert (tmp_path / "bundle" / PACKED).exists()
    opened = load(folder)
    assert (opened.packed is None) == (library.open_library() is None)
    with_library = Engine(opened, cache_mb=0, threads=2).encode(SENTENCES)
    monkeypatch.setattr(opened, "packed", None)
    without = Engine(opened, cache_mb=0, threads=2).encode(SENTENCES)
    np.testing.assert_allclose(with_library, without, rtol=2e-6, atol=1e-6)
