"""Training an encoder that comes with a table of its own: only rows in use change."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from model.dataset.examples import open_examples
from model.initial.start_vectors import trained_ids
from model.network.siamese import build_siamese
from model.training.checkpoints import CheckpointOptions
from model.training.fitting import fit
from model.training.strategy import choose_strategy
from tests.model.tiny_examples import write_examples
from tests.model.tiny_recipes import recipe
from tests.model.tiny_universal import write_weights
from tests.model.training.test_fitting import Silent


def fine_tuned(folder, batches="lengths", **changes):
    encoder = {"kind": "universal", "preset": str(folder), "normalize": False, "dropout": 0.1}
    return recipe(
        embedding=None,
        encoder=encoder | {"token_dropout": 0.2} | changes,
        text={"tokenizer": "sentencepiece", "vocabulary": "sp.model"},
        comparison={"kind": "absdiff_product", "hidden": [4]},
        training={"epochs": 2, "batch_size": 32, "optimizer": "adamw", "learning_rate": 0.001,
                  "weight_decay": 0.01, "average": 0.9, "keep": "last", "batches": batches},
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Weights, and examples with the ids 2 to 19 beside them."""
    folder = write_weights(tmp_path_factory.mktemp("universal"))
    write_examples(folder / "examples", fine_tuned(folder).to_yaml(), rows=100, vocabulary=20)
    return folder


def train(rules, examples, **options):
    keras.utils.set_random_seed(5)
    ids = trained_ids(rules, examples)
    siamese = build_siamese(rules, vocabulary_size=examples.vocabulary_size, trained_ids=ids)
    before = rows_of(siamese)
    fit(siamese, rules, examples, placement=choose_strategy("one"), reporter=Silent(), **options)
    return siamese, before


def rows_of(siamese):
    """The vectors of all 68 ids."""
    return np.asarray(siamese.encoder.get_layer("table")(np.arange(1, 69)[:, None]))[:, 0]


def test_ids_of_the_training_part_are_those_that_it_holds(folder):
    examples = open_examples(str(folder / "examples"))
    ids = trained_ids(fine_tuned(folder), examples)

    assert ids.dtype == np.int32
    assert ids.tolist() == list(range(2, 20))
    assert trained_ids(fine_tuned(folder, trainable=False), examples) is None
    assert trained_ids(recipe(), examples) is None


def test_training_changes_used_rows_alone_and_the_network_above_them(folder):
    rules, examples = fine_tuned(folder), open_examples(str(folder / "examples"))
    siamese, before = train(rules, examples)
    changed = (rows_of(siamese) != before).any(axis=1)

    assert np.flatnonzero(changed).tolist() == [id - 1 for id in range(2, 20)]
    untouched = build_siamese(rules, vocabulary_size=20).encoder
    for name in ("project", "ngrams_2_1", "ngrams_5_2", "sum", "dense_0", "dense_3"):
        trained, start = (e.get_layer(name).get_weights()[0] for e in (siamese.encoder, untouched))
        assert (trained != start).any()


def test_a_frozen_encoder_trains_its_head_alone(folder):
    rules, examples = fine_tuned(folder, trainable=False), open_examples(str(folder / "examples"))
    siamese, before = train(rules, examples)

    np.testing.assert_array_equal(rows_of(siamese), before)
    start = build_siamese(rules, vocabulary_size=20).encoder
    for trained, untouched in zip(siamese.encoder.get_weights(), start.get_weights(), strict=True):
        np.testing.assert_array_equal(trained, untouched)


@pytest.mark.parametrize("batches", ["lengths", "neighbours"])
def test_it_resumes_from_its_checkpoint_to_the_same_weights(folder, tmp_path, batches):
    rules, examples = fine_tuned(folder, batches), open_examples(str(folder / "examples"))
    straight, _ = train(rules, examples)
    checkpoints = CheckpointOptions(str(tmp_path), every_steps=3)
    first, _ = train(rules, examples, checkpoints=checkpoints)
    again, _ = train(rules, examples, checkpoints=checkpoints)

    for weights in (first, again):
        for found, expected in zip(
            weights.network.get_weights(), straight.network.get_weights(), strict=True
        ):
            np.testing.assert_array_equal(found, expected)
