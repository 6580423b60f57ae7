"""Pretraining of a recurrent encoder: a language model of the training part's own sentences.

Before any label is seen, the forward LSTM learns to predict the next token of a sentence and the
backward LSTM the one before (as in ELMo; Peters et al. 2018, and Dai and Le 2015, who start a
classifier from it). The outputs are tied to the embedding. Labels are few beside what sentences
themselves say of the language, so new sentences are understood better.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import islice

import keras
import numpy as np
import tensorflow as tf

from model.network.encoders import EMBEDDING
from model.network.packed_lstm import Packing, bilstm, pack, tokens_of
from model.training.checkpoints import (
    CheckpointOptions,
    Progress,
    open_checkpoints,
    stopped_message,
)
from model.training.optimizers import dense
from model.training.sigterm import SigtermFlag
from transforms.errors import RunError

BATCH = 256  # sentences
LEARNING_RATE = 3e-3
WARMUP = 0.1  # of all steps
DROPOUT = 0.2  # of the tokens' vectors, and of the states


class LanguageModel:
    """Predicts each token of a sentence from those before it, and from those after it."""

    def __init__(self, encoder: keras.Model, *, steps: int, seed: int):
        self.embedding = encoder.get_layer(EMBEDDING)
        self.layers = [layer for layer in encoder.layers if layer.name.startswith("bilstm_")]
        size, units = self.embedding.output_dim, self.layers[-1].forward_layer.units
        starts = [keras.initializers.GlorotUniform(seed + number) for number in range(2)]
        self.heads = [keras.layers.Dense(size, kernel_initializer=start) for start in starts]
        for head in self.heads:
            head.build((None, units))
        self.seed = seed
        self.variables = [*encoder.trainable_variables]
        self.variables += [v for head in self.heads for v in head.trainable_variables]
        warmup = max(1, round(WARMUP * steps))
        schedule = keras.optimizers.schedules.CosineDecay(
            LEARNING_RATE / (warmup + 1),
            decay_steps=max(1, steps - warmup),
            warmup_target=LEARNING_RATE,
            warmup_steps=warmup,
        )
        self.optimizer = keras.optimizers.Adam(schedule, global_clipnorm=1.0)
        self.optimizer.build(self.variables)

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)])
    def step(self, ids: tf.Tensor) -> tf.Tensor:
        """Learns from sentences, int32 [b, t]; the mean loss of a token, in nats."""
        with tf.GradientTape() as tape:
            loss = self.loss(ids, training=True)
        gradients = dense(tape.gradient(loss, self.variables), self.variables)
        self.optimizer.apply(gradients, self.variables)
        return loss

    def loss(self, ids: tf.Tensor, *, training: bool) -> tf.Tensor:
        """The mean over both directions; the first and last token are predicted one way only."""
        packing = pack(ids)
        tokens = tokens_of(ids, packing)
        states = self._drop(tf.gather(self.embedding.embeddings.value, tokens), training, 0)
        for number, layer in enumerate(self.layers, start=1):
            states = self._drop(bilstm(layer, states, packing)[0], training, number)
        ahead, back = tf.split(states, 2, axis=1)
        current, following = following_tokens(packing)
        losses = [
            self._predictions(
                self.heads[0], tf.gather(ahead, current), tf.gather(tokens, following)
            ),
            self._predictions(
                self.heads[1], tf.gather(back, following), tf.gather(tokens, current)
            ),
        ]
        return tf.reduce_mean(tf.stack(losses))

    def _predictions(
        self, head: keras.layers.Dense, states: tf.Tensor, tokens: tf.Tensor
    ) -> tf.Tensor:
        logits = tf.matmul(head(states), self.embedding.embeddings.value, transpose_b=True)
        return tf.nn.sparse_softmax_cross_entropy_with_logits(tokens, logits)

    def _drop(self, values: tf.Tensor, training: bool, place: int) -> tf.Tensor:
        if not training:
            return values
        key = tf.stack([self.seed + place, tf.cast(self.optimizer.iterations, tf.int32)])
        return tf.nn.experimental.stateless_dropout(values, DROPOUT, seed=key)


def following_tokens(packing: Packing) -> tuple[tf.Tensor, tf.Tensor]:
    """Places in the list of tokens: of all that have one after them, and of that one; int32 [m]."""
    # Rows are sorted from long to short, so at each step those that still have a token come first:
    # a token is followed by another if its row is among the active ones of the next step.
    active = tf.concat([packing.active, [0]], axis=0)
    has_next = packing.rows < tf.gather(active, packing.times + 1)
    current = tf.cast(tf.where(has_next)[:, 0], tf.int32)
    times, rows = tf.gather(packing.times, current), tf.gather(packing.rows, current)
    return current, tf.gather(packing.starts, times + 1) + rows


def pretrain(
    encoder: keras.Model,
    sentences: Sequence[Sequence[int]],
    *,
    epochs: int,
    seed: int,
    checkpoints: CheckpointOptions | None = None,
    run: str = "",
) -> list[float]:
    """Pretrains a `bilstm` encoder in place; the mean loss of each epoch.

    Args:
        encoder: as `encoders.build_encoder` makes it, outside of any strategy.
        sentences: lists of ids, none of them empty.
        epochs: times that all sentences are seen.
        seed: of order and dropout.
        checkpoints: where it keeps how far it is, and from where it resumes.
        run: names the training run that this is the begin of.

    Raises:
        UserError: the checkpoints are another run's.
        RunError: SIGTERM came, or the loss is no longer a number.
    """
    usable = [np.asarray(ids, np.int32) for ids in sentences if len(ids) > 1]
    if not usable:
        return []
    steps = -(-len(usable) // BATCH)
    model = LanguageModel(encoder, steps=epochs * steps, seed=seed)
    state = model.variables + model.optimizer.variables
    kept = open_checkpoints(checkpoints, variables=state, best=[], run=run) if checkpoints else None
    progress = found[0] if kept and (found := kept.restore()) else Progress()
    with SigtermFlag() as sigterm:
        while progress.epoch < epochs:
            order = batches(usable, np.random.default_rng([seed, progress.epoch]))
            for ids in islice(order, progress.step, None):
                _step(model, ids, progress, epochs)
                if kept and (sigterm.wanted or kept.due()):
                    kept.save(progress, [])
                if sigterm.wanted:
                    place = f"epoch {progress.epoch + 1} of {epochs} of pretraining"
                    raise RunError(stopped_message(f"{place}, step {progress.step}", kept))
            _end_epoch(progress, epochs)
            if kept:
                kept.save(progress, [])
    return [record["loss"] for record in progress.history]


def _step(model: LanguageModel, ids: np.ndarray, progress: Progress, epochs: int) -> None:
    loss = float(model.step(ids))
    progress.step += 1
    if not math.isfinite(loss):
        raise RunError(
            f"pretraining stopped at epoch {progress.epoch + 1} of {epochs}, step {progress.step}: "
            "its loss is not finite; set training.pretrain_epochs: 0, or scale the vectors "
            "that the embedding begins with"
        )
    progress.loss_sum += loss
    progress.rows += 1


def _end_epoch(progress: Progress, epochs: int) -> None:
    """Reports the epoch, and sets `progress` to the start of the next one."""
    loss = progress.loss_sum / progress.rows
    progress.history.append({"loss": loss})
    progress.epoch, progress.step, progress.loss_sum, progress.rows = progress.epoch + 1, 0, 0, 0
    print(f"pretraining epoch {progress.epoch}/{epochs}: loss {loss:.4f}", flush=True)


def batches(sentences: Sequence[np.ndarray], rng: np.random.Generator) -> Iterator[np.ndarray]:
    """All sentences once, at random, those of about one length together: int32 [b, t] each."""
    order = rng.permutation(len(sentences))
    lengths = np.array([len(sentences[place]) for place in order])
    order = order[np.argsort(lengths + rng.random(len(order)) * 4, kind="stable")]
    starts = np.arange(0, len(order), BATCH)
    for start in rng.permutation(starts):
        rows = [sentences[place] for place in order[start : start + BATCH]]
        block = np.zeros((len(rows), max(map(len, rows))), np.int32)
        for number, row in enumerate(rows):
            block[number, : len(row)] = row
        yield block
