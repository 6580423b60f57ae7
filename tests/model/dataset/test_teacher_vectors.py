"""A teacher's vectors: found by key, shortened, and how far a student's are from them."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from model.dataset.batch_plan import EpochOrder, Records
from model.dataset.batches import training_batches
from model.dataset.examples import Examples, ExampleSet
from model.dataset.teacher_vectors import FIRST, SECOND, read_teacher, shortened, vector_losses
from model.network.forward import choose_forward
from model.network.losses import make_loss
from model.network.siamese import build_siamese, judged, similarity
from model.training.step_batches import mirrored
from model.training.steps import all_losses, losses_of
from tests.model.tiny_examples import serialise
from tests.model.tiny_recipes import recipe
from transforms.errors import UserError
from transforms.scoring.embedding_store import EmbeddingStore
from transforms.text_keys import as_short, sentence_keys

TEACHER = {"teacher": "somewhere", "vectors": 0.5}
SENTENCES = ["a", "b", "如何", "c"]


def stored(folder, vectors) -> str:
    store = EmbeddingStore(str(folder), "f", vectors.shape[1]).open()
    store.add(sentence_keys(SENTENCES[:3]), vectors[:3])
    store.add(sentence_keys(SENTENCES[2:]), vectors[2:])  # one of them in both files
    return str(folder)


def examples_with(folder: str | None) -> Examples:
    part = ExampleSet((), ())
    return Examples("x", part, part, {"teachers": [{"vectors": folder}]})


def test_vectors_are_found_by_the_key_of_their_sentence(tmp_path):
    vectors = np.float32([[3, 0, 4], [0, 2, 0], [1, 0, 0], [0, 0, 5]])
    teacher = read_teacher(recipe(distill=TEACHER), examples_with(stored(tmp_path, vectors)), 3)
    keys = as_short(sentence_keys(["如何", "nobody", "a", "c"]))
    batch = {"first_key": tf.constant(keys), "second_key": tf.constant(keys[::-1].copy())}
    found = teacher.add_to({**batch, "label": tf.zeros(4)})
    assert set(found) == {FIRST, SECOND, "label"}
    expected = [[1, 0, 0], [0, 0, 0], [0.6, 0, 0.8], [0, 0, 1]]
    np.testing.assert_allclose(found[FIRST], expected, atol=1e-6)
    np.testing.assert_allclose(found[SECOND], expected[::-1], atol=1e-6)


def test_without_vectors_it_says_what_to_do(tmp_path):
    assert read_teacher(recipe(), examples_with(None), 3) is None
    for folder in (None, str(tmp_path / "gone")):
        with pytest.raises(UserError, match="the teacher's vectors are not in .*preprocess again"):
            read_teacher(recipe(distill=TEACHER), examples_with(folder), 3)


def test_longer_vectors_keep_what_is_in_their_main_directions():
    rng = np.random.default_rng(0)
    plane = np.linalg.qr(rng.normal(size=(7, 2)))[0].T
    long = (rng.normal(size=(50, 2)) @ plane).astype(np.float32)
    short = shortened(long, 2)
    unit = long / np.linalg.norm(long, axis=1, keepdims=True)
    assert short.shape == (50, 2)
    np.testing.assert_allclose(short @ short.T, unit @ unit.T, atol=1e-5)
    np.testing.assert_allclose(shortened(long, 9), unit, atol=1e-6)  # never made longer


def test_the_loss_is_the_mean_of_both_sides_squared_distances():
    # u = (3, 4)/5 against (1, 0): 2 − 2 · 0.6 = 0.8. v = (0, 2) against (0, 1): 0.
    # In the second pair u = (1, 0) against (0, 1): 2; its v has no vector of the teacher's.
    output = {
        "u": tf.constant([[3.0, 4, 9], [1, 0, 9]]),
        "v": tf.constant([[0.0, 2, 9], [1, 1, 9]]),
    }
    batch = {FIRST: tf.constant([[1.0, 0], [0, 1]]), SECOND: tf.constant([[0.0, 1], [0, 0]])}
    np.testing.assert_allclose(vector_losses(batch, output), [0.4, 1.0], atol=1e-6)


@pytest.mark.parametrize(
    "loss", [{}, {"comparison": {"kind": "cosine"}, "loss": {"kind": "cosent"}}]
)
@pytest.mark.parametrize("encoder", ["bilstm", "cnn"])
def test_it_is_added_to_the_loss_of_either_kind(loss, encoder):
    spec = {"bilstm": {"kind": "bilstm", "units": [4]}, "cnn": {"kind": "cnn", "filters": 3}}
    rules = recipe(encoder=spec[encoder], distill=TEACHER, **loss)
    keras.utils.set_random_seed(1)
    siamese = build_siamese(rules, vocabulary_size=9)
    ids = tf.constant([[3, 4, 0], [5, 6, 7]]), tf.constant([[3, 0, 0], [8, 2, 0]])
    output = choose_forward(siamese, rules)(ids, False)
    rng = np.random.default_rng(2)
    vectors = [shortened(rng.normal(size=(2, 6)).astype(np.float32), 6) for _ in range(2)]
    batch = {"ids1": ids[0], "ids2": ids[1], "label": tf.constant([1.0, 0]),
             "weight": tf.constant([1.0, 2]), FIRST: tf.constant(vectors[0]),
             SECOND: tf.constant(vectors[1])}  # fmt: skip
    plain = losses_of(rules, make_loss(rules), batch, output)
    found = all_losses(rules, make_loss(rules), batch, output)
    expected = plain + 0.5 * batch["weight"] * vector_losses(batch, output)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    without = recipe(encoder=spec[encoder], **loss)
    if not loss:
        np.testing.assert_allclose(
            similarity(rules, output), similarity(without, judged(output)), rtol=1e-6
        )


def test_mirrored_pairs_exchange_their_vectors_too():
    batch = {"ids1": tf.constant([[3]]), "ids2": tf.constant([[4]]), "label": tf.ones(1),
             "row": tf.constant([0]), "weight": tf.ones(1), FIRST: tf.constant([[1.0, 0]]),
             SECOND: tf.constant([[0.0, 1]])}  # fmt: skip
    both = mirrored(batch)
    assert both[FIRST].numpy().tolist() == [[1, 0], [0, 1]]
    assert both[SECOND].numpy().tolist() == [[0, 1], [1, 0]]


def test_keys_come_with_their_rows(tmp_path):
    path = str(tmp_path / "train.tfrecord.gz")
    keys = as_short(sentence_keys([str(number) for number in range(10)])).tolist()
    with tf.io.TFRecordWriter(path, tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
        for number in range(5):
            example = tf.train.Example.FromString(serialise(([number + 2], [9], 1.0)))
            for name, key in (("first_key", keys[number]), ("second_key", keys[number + 5])):
                example.features.feature[name].int64_list.value.append(key)
            writer.write(example.SerializeToString())
    records = Records((path,), (5,), keyed=True)
    seen = {}
    for batch in training_batches(records, batch_size=2, order=EpochOrder(3)).as_numpy_iterator():
        rows = zip(batch["ids1"][:, 0], batch["first_key"], batch["second_key"], strict=True)
        seen |= {int(row): (int(first), int(second)) for row, first, second in rows}
    assert seen == {row + 2: (keys[row], keys[row + 5]) for row in range(5)}
    assert json.dumps(keys)  # plain whole numbers, negative ones too
