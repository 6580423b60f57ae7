"""Labels mixed with a teacher's scores, weights of rows and of classes, positives alone."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from model.dataset.batch_plan import EpochOrder, Records
from model.dataset.batches import training_batches
from model.network.losses import make_loss
from model.training.evaluation import evaluate
from model.training.step_batches import labelled, taught
from model.training.steps import _similarities, _with_unrelated
from tests.model.tiny_examples import serialise
from tests.model.tiny_recipes import recipe
from transforms.errors import UserError

NAN = float("nan")
POSITIVES = {
    "labels": {},
    "comparison": {"kind": "cosine"},
    "loss": {"kind": "multiple_negatives"},
}


def batch_of(**values):
    return {name: tf.constant(value, tf.float32) for name, value in values.items()}


def test_a_label_is_mixed_with_the_teacher_s_score_and_a_missing_one_is_the_score():
    rules = recipe(distill={"weight": 0.75})
    batch = batch_of(label=[1, 0, NAN], teacher=[0.5, 0.5, 0.2], weight=[1, 1, 1])
    # ¼ · 1 + ¾ · 0.5 = 0.625; ¼ · 0 + ¾ · 0.5 = 0.375; no label: 0.2.
    np.testing.assert_allclose(taught(rules, batch)["label"], [0.625, 0.375, 0.2])
    assert taught(recipe(), batch) is batch
    seen = labelled(batch)
    assert seen["label"].numpy().tolist() == [1, 0, 0]
    assert seen["weight"].numpy().tolist() == [1, 1, 0]


def test_the_loss_of_a_mixed_label_is_the_mix_of_the_losses():
    rules = recipe(comparison={"kind": "l1"}, distill={"weight": 0.75})
    batch = taught(rules, batch_of(label=[1, 0], teacher=[0.3, 0.6]))
    loss, logits = make_loss(rules), np.float32([0.7, -1.2])
    mixed = 0.25 * loss(np.float32([1, 0]), logits) + 0.75 * loss(np.float32([0.3, 0.6]), logits)
    np.testing.assert_allclose(loss(batch["label"], logits), mixed, rtol=1e-6)


def test_class_weights_multiply_the_loss_of_their_class():
    plain = make_loss(recipe(comparison={"kind": "l1"}))
    weighted = make_loss(
        recipe(comparison={"kind": "l1"}, labels={"classes": ["0", "1"], "class_weights": [1, 5]})
    )
    # A label half-way between the classes, as a teacher gives it, weighs (1 + 5) / 2.
    labels, logits = np.float32([1, 0, 0.5]), np.float32([0.5, 0.5, 0.5])
    np.testing.assert_allclose(
        weighted(labels, logits), plain(labels, logits) * [5, 1, 3], rtol=1e-6
    )
    with pytest.raises(UserError, match=r"labels.class_weights: one for each .*\(2\); received 1"):
        recipe(labels={"classes": ["0", "1"], "class_weights": [2]})


def test_weights_and_scores_come_with_their_rows(tmp_path):
    path = str(tmp_path / "train.tfrecord.gz")
    with tf.io.TFRecordWriter(path, tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
        for number in range(5):
            example = tf.train.Example.FromString(serialise(([number + 2], [9], 1.0)))
            for name, value in (("weight", number / 2), ("teacher", number / 10)):
                example.features.feature[name].float_list.value.append(value)
            writer.write(example.SerializeToString())
    records = Records((path,), (5,), numbers=("weight", "teacher"))
    seen = {}
    for batch in training_batches(records, batch_size=2, order=EpochOrder(3)).as_numpy_iterator():
        rows = zip(batch["ids1"][:, 0], batch["weight"], batch["teacher"], strict=True)
        seen |= {int(row): (weight, teacher) for row, weight, teacher in rows}
    assert sorted(seen) == [2, 3, 4, 5, 6]
    for row, found in seen.items():
        assert found == pytest.approx(((row - 2) / 2, (row - 2) / 10))


def test_positives_alone_are_measured_against_unrelated_pairs():
    rules = recipe(**POSITIVES)
    assert rules.reads_positives and rules.label_range == (0, 1)
    # Three pairs of equal unit vectors x, y and z; the third pair's second sentence is the first's.
    batch = {
        "ids1": tf.constant([[2], [3], [4]]),
        "ids2": tf.constant([[5], [6], [5]]),
        **batch_of(label=[1, 1, 1], weight=[1, 1, 1]),
    }
    output = {"u": tf.eye(3), "v": tf.eye(3)}
    found = {**_similarities(rules, output), "loss": tf.constant([3.0, 4, 5])}
    found |= {"label": batch["label"], "weight": batch["weight"]}
    seen = _with_unrelated(rules, batch, output, found)
    assert seen["label"].numpy().tolist() == [1, 1, 1, 0, 0, 0]
    # First sides meet 6, 5 and 5: the last stands in the third pair itself.
    assert seen["weight"].numpy().tolist() == [1, 1, 1, 1, 1, 0]
    # Cosines 1 with the partner and 0 with the next one's, on the scale −1…1.
    np.testing.assert_allclose(seen["similarity"], [1, 1, 1, 0.5, 0.5, 0.5], atol=1e-6)
    evaluation = evaluate(rules, lambda _: seen, iter([None]), 1)
    assert evaluation.loss == pytest.approx(4)  # of the three pairs
    assert len(evaluation.labels) == 5


def test_what_needs_labels_is_refused_without_them():
    with pytest.raises(UserError, match="labels.classes: task binary needs"):
        recipe(labels={})
    with pytest.raises(UserError, match="distill: only for labelled pairs.* without labels"):
        recipe(**POSITIVES, distill={})
    with pytest.raises(UserError, match="labels.transitive: .*data without labels"):
        recipe(**(POSITIVES | {"labels": {"transitive": 1}}))
