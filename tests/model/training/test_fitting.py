from __future__ import annotations

import os
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf

from model.dataset.batch_plan import EpochOrder
from model.dataset.batches import training_batches
from model.dataset.examples import open_examples
from model.network.siamese import build_siamese
from model.recipe.reading import parse_recipe
from model.training.checkpoints import CheckpointOptions
from model.training.fitting import fit
from model.training.reporter import Reporter
from model.training.strategy import choose_strategy
from tests.model.tiny_examples import write_examples
from transforms.errors import RunError, UserError

TINY = {
    "name": "tiny",
    "description": "for tests",
    "source": "made up",
    "task": "binary",
    "labels": {"classes": ["0", "1"]},
    "text": {"tokenizer": "char"},
    "embedding": {"dimensions": 8},
    "encoder": {"kind": "cnn", "filters": 4, "widths": [2], "dropout": 0.2},
    "comparison": {"kind": "manhattan"},
    "loss": {"kind": "binary_crossentropy"},
    "training": {"epochs": 3, "batch_size": 32, "learning_rate": 0.01, "seed": 5},
}


def recipe(**training):
    return parse_recipe(TINY | {"training": TINY["training"] | training}, source="here")


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    folder = write_examples(tmp_path_factory.mktemp("fit") / "examples", recipe().to_yaml())
    return open_examples(str(folder))


class Silent(Reporter):
    """Calls `at_step` after each step, counted from 1 over all epochs."""

    def __init__(self, at_step=lambda step: None):
        super().__init__(silent=True)
        self.count, self.at_step = 0, at_step

    def step(self, done, rows, loss):
        self.count += 1
        self.at_step(self.count)


def train(examples, rules, *, reporter=None, folder=None, **options):
    keras.utils.set_random_seed(rules.training.seed)
    siamese = build_siamese(rules, vocabulary_size=examples.vocabulary_size)
    checkpoints = folder and CheckpointOptions(str(folder), **options)
    result = fit(
        siamese,
        rules,
        examples,
        placement=choose_strategy("one"),
        reporter=reporter or Silent(),
        checkpoints=checkpoints or None,
    )
    return result, siamese.network.get_weights()


@pytest.fixture(scope="module")
def undisturbed(examples):
    return train(examples, recipe())


def test_it_learns_and_tells_each_epoch(undisturbed):
    result, _ = undisturbed
    assert [record["epoch"] for record in result.history] == [1, 2, 3]
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    assert set(result.history[0]) == {
        "epoch", "loss", "eval_loss", "eval_accuracy", "learning_rate", "seconds",
        "pairs_per_second",
    }  # fmt: skip


def test_the_best_epochs_weights_and_evaluation_are_kept(undisturbed, examples):
    result, weights = undisturbed
    accuracies = [record["eval_accuracy"] for record in result.history]
    assert result.best_epoch == 1 + int(np.argmax(accuracies))
    similarities, labels = result.evaluation.similarity, result.evaluation.labels
    cuts = [np.mean((similarities >= cut) == labels) for cut in [*similarities, 2]]
    assert max(cuts) == pytest.approx(max(accuracies))
    assert len(result.evaluation.labels) == 50
    only_so_far = recipe(epochs=result.best_epoch)
    _, of_best = train(examples, only_so_far)
    assert all(map(np.array_equal, weights, of_best))


def test_one_epoch_is_adam_by_the_book(examples):
    """Adam as Kingma and Ba (2015) write it, in NumPy, over gradients that are dense.

    Keras's own loop is not the oracle: of an embedding its Adam squares the gradient of each use of
    a token, and not their sum.
    """
    rules = parse_recipe(
        TINY
        | {"encoder": {"kind": "cnn", "filters": 4}, "comparison": {"kind": "l1"}}
        | {"training": TINY["training"] | {"epochs": 1, "batch_size": 46}},
        source="here",
    )
    _, weights = train(examples, rules)

    keras.utils.set_random_seed(5)
    network = build_siamese(rules, vocabulary_size=examples.vocabulary_size).network
    judge = keras.losses.BinaryCrossentropy(from_logits=True)
    firsts = [np.zeros(variable.shape) for variable in network.trainable_variables]
    seconds = [np.zeros(variable.shape) for variable in network.trainable_variables]
    # 230 examples are five whole batches, so the mean over a batch is our sum over 46
    batches = training_batches(examples.train.records(rules), batch_size=46, order=EpochOrder(5))
    for count, batch in enumerate(batches, start=1):
        with tf.GradientTape() as tape:
            loss = judge(batch["label"], network([batch["ids1"], batch["ids2"]]))
        gradients = tape.gradient(loss, network.trainable_variables)
        for place, variable in enumerate(network.trainable_variables):
            gradient = tf.convert_to_tensor(gradients[place]).numpy()
            firsts[place] = 0.9 * firsts[place] + 0.1 * gradient
            seconds[place] = 0.999 * seconds[place] + 0.001 * gradient**2
            rate = 0.01 * np.sqrt(1 - 0.999**count) / (1 - 0.9**count)  # the end of section 2
            step = rate * firsts[place] / (np.sqrt(seconds[place]) + 1e-7)
            variable.assign(variable.numpy() - step)
    for ours, theirs in zip(weights, network.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)


@pytest.mark.parametrize("step", [8, 20])
def test_sigterm_saves_and_the_next_run_ends_with_the_same_weights(
    examples, undisturbed, tmp_path, step
):
    def preempt(count):
        if count == step:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(RunError, match=r"SIGTERM at epoch \d, step \d of 8.*resumes from it"):
        train(examples, recipe(), reporter=Silent(preempt), folder=tmp_path)
    result, weights = train(examples, recipe(), folder=tmp_path)
    whole, wanted = undisturbed
    assert all(map(np.array_equal, weights, wanted))
    assert [r["loss"] for r in result.history] == [r["loss"] for r in whole.history]


def test_a_run_that_broke_goes_on_from_its_last_checkpoint(examples, undisturbed, tmp_path):
    def crash(count):
        if count == 12:
            raise ConnectionError

    with pytest.raises(ConnectionError):
        train(examples, recipe(), reporter=Silent(crash), folder=tmp_path, every_steps=5)
    reporter = Silent()
    _, weights = train(examples, recipe(), reporter=reporter, folder=tmp_path)
    # 8 steps an epoch: saved after step 8, the end of the first epoch, and not yet five later
    assert reporter.count == 24 - 8
    assert all(map(np.array_equal, weights, undisturbed[1]))


def test_a_finished_run_is_not_trained_again(examples, undisturbed, tmp_path):
    train(examples, recipe(), folder=tmp_path)
    reporter = Silent()
    result, weights = train(examples, recipe(), reporter=reporter, folder=tmp_path)
    assert reporter.count == 0 and len(result.history) == 3
    assert all(map(np.array_equal, weights, undisturbed[1]))


def test_checkpoints_of_another_seed_are_refused(examples, tmp_path):
    train(examples, recipe(epochs=1), folder=tmp_path)
    with pytest.raises(UserError, match="another recipe, seed"):
        train(examples, recipe(epochs=1, seed=6), folder=tmp_path)


def test_the_last_epoch_is_kept_where_the_recipe_says_so(examples):
    last, weights = train(examples, recipe(keep="last", epochs=4))
    best, others = train(examples, recipe(epochs=4))
    assert last.history[0]["loss"] == best.history[0]["loss"]  # the same training
    assert (last.best_epoch, len(last.history)) == (4, 4) and best.best_epoch < 4
    assert not all(map(np.array_equal, weights, others))


def test_patience_and_the_last_epoch_exclude_each_other():
    with pytest.raises(UserError, match="training.patience: stops after the best epoch"):
        recipe(keep="last", patience=2)


def test_patience_ends_training_early(examples):
    result, _ = train(examples, recipe(epochs=30, patience=1, learning_rate=1e-9))
    # nothing moves, so the second epoch is no better than the first
    assert (len(result.history), result.best_epoch) == (2, 1)


def test_the_moving_average_is_what_is_evaluated_and_kept(examples):
    result, weights = train(examples, recipe(average=0.9, epochs=2))
    plain, others = train(examples, recipe(epochs=2))
    assert result.history[0]["loss"] == plain.history[0]["loss"]
    assert result.history[0]["eval_loss"] != plain.history[0]["eval_loss"]
    assert not all(map(np.array_equal, weights, others))


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_the_vector_of_unknown_tokens_is_learned_where_tokens_are_hidden(examples, share):
    # No sentence of these examples has the id 1.
    rules = parse_recipe(
        TINY | {"embedding": {"dimensions": 8, "token_dropout": share}}, source="here"
    )
    keras.utils.set_random_seed(5)
    start = build_siamese(rules, vocabulary_size=examples.vocabulary_size).network.get_weights()
    _, end = train(examples, rules)
    (embedding,) = [place for place, weights in enumerate(start) if weights.shape[-1:] == (8,)][:1]
    moved = np.abs(end[embedding] - start[embedding]).max(axis=1) > 1e-6
    assert moved[2:].all()
    assert moved[1] == (share > 0)


def test_mirrored_pairs_make_an_uneven_comparison_even(examples):
    values = TINY | {"comparison": {"kind": "concat"}}
    rules = parse_recipe(
        values | {"training": TINY["training"] | {"mirror": True, "epochs": 1}}, source="here"
    )
    result, _ = train(examples, rules)
    assert result.history[0]["loss"] > 0


def test_training_stops_at_the_first_step_whose_loss_is_no_number(examples, tmp_path):
    rules = recipe(learning_rate=1e38, epochs=5)
    steps = Silent()
    with pytest.raises(
        RunError, match=r"stopped at epoch 1, step \d of 8: .*no longer finite"
    ) as e:
        train(examples, rules, reporter=steps, folder=tmp_path, every_steps=1)
    assert "\n" not in str(e.value) and "training.learning_rate (1e+38)" in str(e.value)
    assert steps.count < 8


def test_a_gradient_that_is_no_number_is_as_bad_as_such_a_loss(examples, tmp_path):
    # Clipped by a norm that is infinite, all weights would be NaN in the next step's checkpoint.
    rules = recipe(clip_norm=1.0)
    keras.utils.set_random_seed(5)
    siamese = build_siamese(rules, vocabulary_size=examples.vocabulary_size)
    embedding = siamese.encoder.get_layer("embedding").embeddings
    embedding.assign(np.full(embedding.shape, 1e30))
    options = CheckpointOptions(str(tmp_path), every_steps=1)
    with pytest.raises(RunError, match="step 1 of 8: the loss or its gradient"):
        fit(
            siamese,
            rules,
            examples,
            placement=choose_strategy("one"),
            reporter=Silent(),
            checkpoints=options,
        )
    assert not options.begun


@pytest.mark.parametrize("longest", [7, 9])
def test_a_transformer_trains_where_the_longest_sentence_is_no_multiple_of_four(examples, longest):
    # Sentences of up to 9 ids are padded to 12, and places are learned for `longest`.
    transformer = {"kind": "transformer", "layers": 1, "heads": 2, "feed_forward": 8}
    text = {"tokenizer": "char", "max_tokens": longest}
    training = TINY["training"] | {"epochs": 1}
    rules = parse_recipe(
        TINY | {"encoder": transformer, "text": text, "training": training}, source="here"
    )
    result, _ = train(examples, rules)
    assert np.isfinite(result.history[0]["eval_loss"])
