from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from model.bundle.folded_lstm import FoldedBiLstm
from model.bundle.signatures import serving_encoder
from tests.model.tiny_bundle import VOCABULARY_SIZE, build
from tests.model.tiny_recipes import recipe

POOLINGS = ("last", "mean", "max", "mean_max", "attention")
EXACT = {
    **{f"bilstm {p}": {"kind": "bilstm", "units": [24, 9], "pooling": p} for p in POOLINGS[:4]},
    "one layer": {"kind": "bilstm", "units": [40], "pooling": "mean_max"},
    "cnn max": {"kind": "cnn", "filters": 16},
}
LENGTHS = (1, 2, 3, 5, 7, 12, 29)


def random_ids(rng, rows: int, longest: int) -> np.ndarray:
    ids = rng.integers(1, VOCABULARY_SIZE, (rows, longest)).astype(np.int32)
    return ids * (np.arange(longest) < rng.integers(1, longest + 1, rows)[:, None])


def compiled(encoder):
    function = tf.function(lambda ids: encoder(ids))
    return function.get_concrete_function(tf.TensorSpec([None, None], tf.int32))


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("units", [[5], [6, 3], [4, 5, 2]])
def test_agrees_with_the_keras_layers(units, pooling):
    rules = recipe(encoder={"kind": "bilstm", "units": units, "dropout": 0.5, "pooling": pooling})
    siamese = build(rules)
    ids = random_ids(np.random.default_rng(0), 40, 11)
    found = compiled(serving_encoder(siamese, rules))(tf.constant(ids))
    np.testing.assert_allclose(found, siamese.encoder(ids, training=False), atol=1e-5)


def test_a_table_too_large_is_not_made_and_changes_nothing():
    siamese = build(recipe())
    ids = tf.constant(random_ids(np.random.default_rng(1), 20, 7))
    # Both directions of the first layer: 200 ids · 2 · 4 gates · 4 units · 4 bytes.
    size = 200 * 2 * 4 * 4 * 4
    folded, plain = (
        FoldedBiLstm(siamese.encoder, max_table_bytes=limit) for limit in (size, size - 1)
    )
    assert folded.folded and not plain.folded
    np.testing.assert_allclose(plain(ids)[0], folded(ids)[0], atol=1e-6)
    np.testing.assert_allclose(plain(ids)[0], siamese.encoder(ids), atol=1e-5)


@pytest.mark.parametrize("name", EXACT)
def test_a_vector_s_bits_are_its_sentence_s_alone(name):
    rules = recipe(encoder=EXACT[name], embedding={"dimensions": 16})
    assert not rules.padding_changes_bits
    encode = compiled(serving_encoder(build(rules), rules))
    rng = np.random.default_rng(5)
    for length in LENGTHS:
        sentences = rng.integers(1, VOCABULARY_SIZE, (3, length)).astype(np.int32)
        bits = []
        for rows, longest in ((512, length), (512, length), (512, length + 1), (100, 64)):
            ids = random_ids(rng, rows, longest)  # other neighbours each time
            at = rng.choice(rows, 3, replace=False)  # in other places
            ids[at] = 0
            ids[at, :length] = sentences
            bits.append(encode(tf.constant(ids)).numpy()[at])
        for other in bits[1:]:
            np.testing.assert_array_equal(other, bits[0])


@pytest.mark.parametrize(
    "encoder",
    [
        {"kind": "bilstm", "units": [4], "pooling": "attention"},
        {"kind": "transformer", "heads": 2},
        {"kind": "cnn", "pooling": "mean"},
    ],
)
def test_encoders_whose_sums_round_by_padding_say_so(encoder):
    assert recipe(encoder=encoder).padding_changes_bits
