from __future__ import annotations

import os
import signal

import keras
import numpy as np
import pytest
from scipy.special import logsumexp

from model.initial.start_vectors import distinct_sentences
from model.network.encoders import build_encoder
from model.network.packed_lstm import pack
from model.training import pretraining
from model.training.checkpoints import CheckpointOptions
from model.training.pretraining import LanguageModel, batches, following_tokens, pretrain
from tests.model.tiny_examples import write_shards
from tests.model.tiny_recipes import recipe
from transforms.errors import RunError, UserError

VOCABULARY = 12
IDS = np.array([[3, 4, 5, 6], [7, 1, 0, 0], [2, 0, 0, 0], [9, 8, 3, 0]], np.int32)


def encoder(**changes) -> keras.Model:
    keras.utils.set_random_seed(4)
    rules = recipe(encoder={"kind": "bilstm", "units": [5], "pooling": "mean_max"}, **changes)
    return build_encoder(rules, vocabulary_size=VOCABULARY)


def test_neighbours_are_the_tokens_side_by_side():
    packing = pack(IDS)
    current, after = (np.asarray(places) for places in following_tokens(packing))
    order, rows, times = (np.asarray(x) for x in (packing.order, packing.rows, packing.times))
    found = {
        (int(order[rows[h]]), int(times[h]), int(order[rows[a]]), int(times[a]))
        for h, a in zip(current, after, strict=True)
    }
    sentences = [row[row > 0] for row in IDS]
    assert found == {(n, t, n, t + 1) for n, s in enumerate(sentences) for t in range(len(s) - 1)}


def test_the_loss_is_that_of_the_keras_layers_sentence_by_sentence():
    built = encoder()
    model = LanguageModel(built, steps=10, seed=1)
    table = built.get_layer("embedding").get_weights()[0]
    layer = built.get_layer("bilstm_1")

    def losses_by_hand(lstm, head, ids):
        """Losses of telling ids[1:] from the states after ids[:-1]."""
        kernel, bias = head.get_weights()
        states = keras.layers.LSTM(5, return_sequences=True)
        states.build((1, None, table.shape[1]))
        states.set_weights(lstm.get_weights())
        hidden = np.asarray(states(table[ids][None]))[0, :-1]
        logits = (hidden @ kernel + bias) @ table.T
        return logsumexp(logits, axis=1) - logits[np.arange(len(ids) - 1), ids[1:]]

    losses = []
    for row in IDS:
        ids = row[row > 0]
        losses += [*losses_by_hand(layer.forward_layer, model.heads[0], ids)]
        losses += [*losses_by_hand(layer.backward_layer, model.heads[1], ids[::-1])]
    assert len(losses) == 2 * (3 + 1 + 0 + 2)
    assert float(model.loss(IDS, training=False)) == pytest.approx(np.mean(losses), rel=1e-5)


def test_it_learns_what_follows_what_and_does_so_again():
    # After 3 comes 4, after 4 comes 5, and so on round: nothing is left to chance but the start.
    sentences = [[3 + (start + n) % 5 for n in range(6)] for start in range(5)] * 200
    first, second = encoder(), encoder()
    before = [np.array(weights) for weights in first.get_weights()]
    history = pretrain(first, sentences, epochs=80, seed=3)
    assert pretrain(second, sentences, epochs=80, seed=3) == history
    assert history[0] > 2.4 and history[-1] < 1.8  # at first about ln 12 = 2.5
    for one, other, start in zip(first.get_weights(), second.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)
        assert np.abs(one - start).max() > 1e-3


def test_stacked_layers_that_give_their_last_state_are_pretrained_too():
    keras.utils.set_random_seed(4)
    built = build_encoder(recipe(), vocabulary_size=VOCABULARY)  # two layers, pooling last
    before = built.get_weights()
    (loss,) = pretrain(built, [[3, 4, 5], [7, 1]], epochs=1, seed=0)
    assert loss == pytest.approx(np.log(VOCABULARY), abs=0.1)  # nothing is known yet
    assert not any(map(np.array_equal, before, built.get_weights()))


def test_sentences_of_one_token_say_nothing():
    built = encoder()
    before = built.get_weights()
    assert pretrain(built, [[3], [4]], epochs=2, seed=0) == []
    assert all(map(np.array_equal, before, built.get_weights()))


def test_batches_hold_every_sentence_once():
    rng = np.random.default_rng(0)
    sentences = [rng.integers(1, 9, rng.integers(1, 20)) for _ in range(600)]
    blocks = list(batches(sentences, np.random.default_rng(1)))
    met = sorted(tuple(row[row > 0]) for block in blocks for row in block)
    assert met == sorted(map(tuple, sentences))
    assert max(map(len, blocks)) == 256


def test_distinct_sentences_come_from_both_sides_of_the_files_given(tmp_path):
    pairs = [([2, 3], [4], 1.0), ([4], [2, 3], 0.0), ([5, 6, 7], [2, 3], 1.0)]
    paths = write_shards(tmp_path, "train", pairs, sizes=[2, 1])
    write_shards(tmp_path, "eval", [([8], [9], 1.0)], sizes=[1])
    assert sorted(distinct_sentences(paths)) == [(2, 3), (4,), (5, 6, 7)]


def test_only_recurrent_encoders_are_pretrained():
    training = {"pretrain_epochs": 2}
    assert recipe(training=training).training.pretrain_epochs == 2
    with pytest.raises(UserError, match="training.pretrain_epochs: only for encoder bilstm"):
        recipe(encoder={"kind": "cnn"}, training=training)


SENTENCES = [[3 + (start + n) % 5 for n in range(2 + start % 6)] for start in range(700)]


@pytest.mark.parametrize("step", [2, 3, 5])
def test_sigterm_stops_pretraining_and_the_next_run_ends_with_the_same_weights(
    tmp_path, monkeypatch, step
):
    whole = encoder()
    wanted = pretrain(whole, SENTENCES, epochs=3, seed=3)  # 3 steps an epoch
    own, steps = pretraining._step, []

    def preempted(model, ids, progress, epochs):
        steps.append(len(ids))
        if len(steps) == step:
            os.kill(os.getpid(), signal.SIGTERM)
        own(model, ids, progress, epochs)

    monkeypatch.setattr(pretraining, "_step", preempted)
    kept = CheckpointOptions(str(tmp_path / "pretraining"), every_minutes=None)
    begun = {"epochs": 3, "seed": 3, "checkpoints": kept, "run": "a"}
    with pytest.raises(
        RunError, match=r"SIGTERM at epoch \d of 3 of pretraining, step \d; a check"
    ):
        pretrain(encoder(), SENTENCES, **begun)
    with pytest.raises(UserError, match="another recipe, seed"):
        pretrain(encoder(), SENTENCES, **begun | {"run": "b"})
    resumed = encoder()
    assert pretrain(resumed, SENTENCES, **begun) == wanted
    assert len(steps) == 9  # none twice
    for ours, theirs in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_pretraining_stops_where_its_loss_is_no_number():
    built = encoder()
    table = built.get_layer("embedding").embeddings
    table.assign(np.full(table.shape, np.inf))
    with pytest.raises(RunError, match="pretraining stopped at epoch 1 of 2, step 1: its loss"):
        pretrain(built, SENTENCES, epochs=2, seed=0)
