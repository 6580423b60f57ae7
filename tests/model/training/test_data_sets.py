"""Several data sets in one training: whose step it is, whose loss, and one network for all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from model.dataset.batch_plan import EpochOrder
from model.dataset.batches import ALL
from model.dataset.data_sets import data_sets, order_of_steps
from model.dataset.examples import open_examples, run_fingerprint
from model.network.losses import make_loss
from model.network.siamese import build_siamese
from model.recipe.checks import check_shared
from model.training.checkpoints import CheckpointOptions
from model.training.fitting import fit, learner_of
from model.training.steps import losses_of
from model.training.strategy import choose_strategy
from model.training.weights import TrainedWeights
from tests.model.tiny_examples import make_pairs, write_examples
from tests.model.tiny_recipes import recipe
from tests.model.training.test_fitting import Silent
from transforms.errors import UserError

TRAINING = {"epochs": 2, "batch_size": 32, "optimizer": "adamw", "average": 0.9, "keep": "last"}
HEAD = recipe(comparison={"kind": "absdiff_product", "hidden": [4]}, training=TRAINING)
POSITIVES = recipe(
    labels={}, comparison={"kind": "cosine"}, loss={"kind": "multiple_negatives"},
    training=TRAINING | {"batch_size": 16},
)  # fmt: skip
WORDS = [f"w{number}" for number in range(18)]


def made(folder: Path, rules, words, **sizes):
    """Examples whose vocabulary are the words."""
    write_examples(folder, rules.to_yaml(), vocabulary=2 + len(words), **sizes)
    assets = folder / "transform_fn" / "assets"
    assets.mkdir(parents=True)
    (assets / "vocabulary").write_text("\n".join(words) + "\n")
    return open_examples(str(folder))


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    first = made(folder / "first", HEAD, WORDS, rows=100)
    other = made(folder / "other", POSITIVES, WORDS[::-1][:10], rows=50)
    return replace(first, more=((POSITIVES, other),))


def trained(examples, **options):
    keras.utils.set_random_seed(3)
    siamese = build_siamese(HEAD, vocabulary_size=20)
    fitted = fit(
        siamese, HEAD, examples, placement=choose_strategy("one"), reporter=Silent(), **options
    )
    return siamese, fitted


def test_steps_are_as_many_as_all_have_batches_in_a_random_order_of_their_own(examples):
    sets = data_sets(HEAD, examples, 6)
    assert [each.steps for each in sets] == [4, 4]  # 100 / 32 and 50 / 16, rounded up
    orders = [order_of_steps(sets, seed, epoch) for seed, epoch in ((1, 0), (1, 1), (2, 0), (1, 0))]
    assert all(sorted(order) == [0] * 4 + [1] * 4 for order in orders)
    assert (orders[0] == orders[3]).all()
    assert len({tuple(order) for order in orders}) == 3


def test_ids_of_a_vocabulary_learned_apart_are_those_of_the_same_words(examples):
    _, other = data_sets(HEAD, examples, 6)
    # Its words are w17, w16 … w8: its id 2 is w17, which is 19 in the first one's.
    assert other.ids.tolist() == [0, 1, *(2 + WORDS.index(word) for word in WORDS[::-1][:10])]
    foreign = replace(other, ids=np.array([0, 1, *[7] * 20], np.int32))
    batch = next(
        foreign.batches(ALL, foreign.records, EpochOrder(1), range(1), 0).as_numpy_iterator()
    )
    assert set(np.unique(batch["ids1"])) <= {0, 1, 7} and (batch["ids1"] == 7).any()


def test_each_data_set_has_its_own_loss_on_the_same_weights(examples):
    siamese = build_siamese(HEAD, vocabulary_size=20)
    placement = choose_strategy("one")
    weights = TrainedWeights(siamese, HEAD, placement, vocabulary_size=20, steps=8)
    first, other = (learner_of(r, weights, first=r is HEAD) for r in (HEAD, POSITIVES))
    assert first.network is siamese.network and other.variables == first.variables
    pairs = make_pairs(rows=4, vocabulary=20)
    ids = [
        tf.cast(tf.ragged.constant([pair[side] for pair in pairs]).to_tensor(), tf.int32)
        for side in (0, 1)
    ]
    batch = {"ids1": ids[0], "ids2": ids[1], "label": tf.ones(4), "weight": tf.ones(4)}
    found = losses_of(POSITIVES, other.loss, batch, other.forward(tuple(ids), False))
    # What the other recipe's own network gives with the same encoder.
    alone = build_siamese(POSITIVES, vocabulary_size=20)
    alone.encoder.set_weights(siamese.encoder.get_weights())
    expected = losses_of(POSITIVES, make_loss(POSITIVES), batch, alone.network(ids))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert float(tf.reduce_min(found)) > 0


def test_all_of_it_is_trained_and_resumed_to_the_same_weights(examples, tmp_path):
    straight, fitted = trained(examples)
    alone, _ = trained(replace(examples, more=()))
    assert len(fitted.history) == 2
    assert any(
        (mixed != own).any()
        for mixed, own in zip(
            straight.encoder.get_weights(), alone.encoder.get_weights(), strict=True
        )
    )
    checkpoints = CheckpointOptions(str(tmp_path), every_steps=3)
    trained(examples, checkpoints=checkpoints)
    latest = sorted(tmp_path.glob("*.index"))
    assert latest
    again, _ = trained(examples, checkpoints=checkpoints)
    for found, expected in zip(
        again.network.get_weights(), straight.network.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


def test_a_run_is_named_by_all_its_data_sets(examples):
    names = {
        run_fingerprint(HEAD, examples),
        run_fingerprint(HEAD, replace(examples, more=())),
        run_fingerprint(HEAD, replace(examples, more=(*examples.more, *examples.more))),
    }
    assert len(names) == 3


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (recipe(encoder={"kind": "cnn"}), "has another encoder than that of --examples"),
        (recipe(text={"tokenizer": "word"}), "has another text than"),
        (recipe(embedding={"dimensions": 8}), "has another embedding than"),
        (recipe(), "its loss binary_crossentropy reads the comparison manhattan, which"),
    ],
)
def test_what_cannot_share_a_network_is_refused(other, message):
    with pytest.raises(UserError, match=f"--more_examples there: .*{message}"):
        check_shared(HEAD, other, "there")


def test_what_differs_only_in_its_data_s_own_is_taken():
    text = {"tokenizer": "char", "max_tokens": 16, "eval_fraction": 0.3, "min_count": 2}
    check_shared(HEAD, recipe(comparison=HEAD.comparison.model_dump(), text=text), "there")
    check_shared(HEAD, POSITIVES, "there")
