"""One step of training and one of evaluation, the same on one device and on many.

The loss of a step is the sum over its examples divided by the global batch size. So gradients of
replicas add up to those of one device, and an uneven last batch weighs what its examples weigh.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from model.dataset.batches import InputShare
from model.network.dropout import current_rows, dropping, hide_tokens
from model.network.forward import Forward
from model.training.optimizers import dense

Batch = dict[str, tf.Tensor]
Loss = Callable[[tf.Tensor, tf.Tensor, "tf.Tensor | None"], tf.Tensor]

_ANOTHER = 1 << 28  # more rows than a batch has: sets numbers of other sentences apart


def sides(batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
    """What the network reads of a batch: ids, or raw text."""
    return (batch["text1"], batch["text2"]) if "text1" in batch else (batch["ids1"], batch["ids2"])


def distribute(
    strategy: tf.distribute.Strategy, make: Callable[[InputShare], tf.data.Dataset]
) -> tuple[Any, Any]:
    """An endless iterator over per-replica batches, and its element's specification.

    The loop knows how many steps an epoch has. Were the data set finite, every step would ask
    all workers whether they have data left.
    """

    def of_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
        workers = context.num_input_pipelines
        share = InputShare(
            context.input_pipeline_id, workers, context.num_replicas_in_sync // workers
        )
        endless = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
        return make(share).repeat().apply(endless)

    dataset = strategy.distribute_datasets_from_function(of_worker)
    return iter(dataset), dataset.element_spec


def make_train_step(
    strategy: tf.distribute.Strategy,
    network: keras.Model,
    forward: Forward,
    loss: Loss,
    optimizer: keras.optimizers.Optimizer,
    *,
    batch_size: int,
    mirror: bool = False,
    xla: bool = False,
    token_dropout: float = 0.0,
    element_spec: Any,
) -> Callable[[Any, int], tf.Tensor]:
    """A function (batch, stop) → float32 [3]: sums of losses, of examples and of `stop` flags.

    `stop` is this worker's wish to stop (0 or 1): with the sum all workers learn of it at once.
    """
    variables = network.trainable_variables
    replicas = strategy.num_replicas_in_sync

    def gradients_of(batch: Batch) -> tuple[tf.Tensor, list[tf.Tensor]]:
        batch = _as_pairs(batch)
        batch = _mirrored(batch) if mirror else batch
        with tf.GradientTape() as tape, dropping(_slots(batch), optimizer.iterations):
            shown = _partly_hidden(batch, token_dropout) if token_dropout else sides(batch)
            output = forward(shown, True)
            losses = loss(batch["label"], output, batch["weight"])
            total = tf.reduce_sum(losses)
            objective = total / batch_size + sum(network.losses) / replicas
        return total, dense(tape.gradient(objective, variables), variables)

    compiled = tf.function(gradients_of, jit_compile=True) if xla else gradients_of

    def on_replica(batch: Batch, stop: tf.Tensor) -> tf.Tensor:
        rows = tf.reduce_sum(batch["weight"])
        total, gradients = compiled(batch)
        optimizer.apply(_clip_together(gradients, optimizer, replicas), variables)
        return tf.stack([total, rows, stop])

    @tf.function(input_signature=[element_spec, tf.TensorSpec([], tf.float32)])
    def step(batch: Any, stop: tf.Tensor) -> tf.Tensor:
        parts = strategy.run(on_replica, args=(batch, stop))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, parts, axis=None)

    return step


def _slots(batch: Batch) -> tf.Tensor:
    """Numbers of the batch's sentences, [2 b]: first sides, then second sides, as encoded."""
    return tf.concat([batch["row"], batch["row"] + 2 * _ANOTHER], axis=0)


def _partly_hidden(batch: Batch, share: float) -> tuple[tf.Tensor, tf.Tensor]:
    """Both sides' ids, with such a share of the tokens as unknown ones."""
    rows1, rows2 = tf.split(current_rows(), 2)
    ids1, ids2 = sides(batch)
    return hide_tokens(ids1, rows1, share), hide_tokens(ids2, rows2, share)


def _as_pairs(batch: Batch) -> Batch:
    """A batch of triplets as two of pairs: all with their positives, then with their negatives.

    Each sentence of them gets the number of its own that dropout needs: see `_slots`.
    """
    kind = "text" if "text1" in batch else "ids"
    if f"{kind}3" not in batch:
        return batch
    anchor, positive, negative = (batch[f"{kind}{side}"] for side in (1, 2, 3))
    return {
        f"{kind}1": tf.concat([anchor, anchor], axis=0),
        f"{kind}2": tf.concat([positive, negative], axis=0),
        "label": tf.concat([batch["label"], tf.zeros_like(batch["label"])], axis=0),
        "row": tf.concat([batch["row"], batch["row"] + _ANOTHER], axis=0),
        "weight": tf.tile(batch["weight"], [2]),
    }


def _mirrored(batch: Batch) -> Batch:
    """Each pair also with its sides exchanged, either of them with half the weight."""
    first, second = sides(batch)
    name1, name2 = ("text1", "text2") if "text1" in batch else ("ids1", "ids2")
    return {
        name1: tf.concat([first, second], axis=0),
        name2: tf.concat([second, first], axis=0),
        "label": tf.tile(batch["label"], [2]),
        "row": tf.concat([batch["row"], batch["row"] + _ANOTHER], axis=0),
        "weight": tf.tile(batch["weight"] / 2, [2]),
    }


def _clip_together(
    gradients: list[tf.Tensor], optimizer: keras.optimizers.Optimizer, replicas: int
) -> list[tf.Tensor]:
    """With several replicas, clip the sum of their gradients: Keras would clip each one's own.

    The optimizer adds the replicas up again, hence the division; what it gets is within its own
    limit and passes unclipped.
    """
    limit = optimizer.global_clipnorm
    if replicas == 1 or not limit:
        return gradients
    context = tf.distribute.get_replica_context()
    summed = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
    clipped, _ = tf.clip_by_global_norm(summed, limit)
    return [gradient / replicas for gradient in clipped]


def make_eval_step(
    strategy: tf.distribute.Strategy, forward: Forward, loss: Loss, *, element_spec: Any
) -> Callable[[Any], dict[str, tf.Tensor]]:
    """A function batch → {"output", "label", "loss", "weight"} of all replicas' rows together."""

    def on_replica(batch: Batch) -> dict[str, tf.Tensor]:
        batch = _as_pairs(batch)
        output = tf.cast(forward(sides(batch), False), tf.float32)
        losses = loss(batch["label"], output, batch["weight"])
        return {
            "output": output,
            "label": batch["label"],
            "loss": losses,
            "weight": batch["weight"],
        }

    @tf.function(input_signature=[element_spec])
    def step(batch: Any) -> dict[str, tf.Tensor]:
        parts = strategy.run(on_replica, args=(batch,))
        if strategy.num_replicas_in_sync == 1:
            return parts
        return {name: strategy.gather(part, axis=0) for name, part in parts.items()}

    return step
