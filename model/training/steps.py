"""One step of training and one of evaluation, the same on one device and on many.

The loss of a step is the sum over its examples divided by the global batch size. So gradients of
replicas add up to those of one device, and an uneven last batch weighs what its examples weigh.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from model.dataset.batches import InputShare
from model.dataset.teacher_vectors import FIRST, vector_losses
from model.network.dropout import dropping
from model.network.siamese import fingerprints, judged, similarity
from model.training.cached_gradients import cached_gradients
from model.training.optimizers import dense
from model.training.step_batches import (
    Batch,
    as_pairs,
    labelled,
    mirrored,
    partly_hidden,
    sides,
    slots,
    taught,
)

if TYPE_CHECKING:
    from model.network.forward import Forward
    from model.recipe.recipe import Recipe

Loss = Callable[[tf.Tensor, tf.Tensor, "tf.Tensor | None"], tf.Tensor]


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


@dataclass(frozen=True)
class Learner:
    """What a training step works on.

    Attributes:
        recipe: says how.
        network: whose weights are trained.
        forward: how it is run, see `forward`.
        loss: see `losses`.
        optimizer: built, in the strategy's scope, of the variables.
        variables: that are trained; the network may reach a part of them alone.
    """

    recipe: Recipe
    network: keras.Model
    forward: Forward
    loss: Loss
    optimizer: keras.optimizers.Optimizer
    variables: Sequence[keras.Variable]


def make_train_step(
    strategy: tf.distribute.Strategy, learner: Learner, *, element_spec: Any
) -> Callable[[Any, int], tf.Tensor]:
    """A function (batch, stop) → float32 [3]: sums of losses, of examples and of `stop` flags.

    `stop` is this worker's wish to stop (0 or 1): with the sum all workers learn of it at once.
    The loss is NaN too if only a gradient is not finite.
    """
    training, optimizer = learner.recipe.training, learner.optimizer
    hidden = learner.recipe.token_dropout
    variables = learner.variables
    replicas = strategy.num_replicas_in_sync

    def encode(batch: Batch) -> Any:
        # What is encoded once has one mask, on whatever replica: by the sentence, not by its row.
        once = learner.recipe.encoder_kind.encodes_once
        with dropping(_marks(batch) if once else slots(batch), optimizer.iterations):
            shown = partly_hidden(batch, hidden) if hidden else sides(batch)
            return learner.forward(shown, True)

    def gradients_of(batch: Batch) -> tuple[tf.Tensor, list[tf.Tensor]]:
        batch = as_pairs(taught(learner.recipe, batch))
        batch = mirrored(batch) if training.mirror else batch
        if training.encode_at_once:
            losses, gradients = cached_gradients(
                batch,
                encode,
                lambda output: all_losses(learner.recipe, learner.loss, batch, output),
                variables,
                at_once=training.encode_at_once,
                dimensions=learner.network.output["u"].shape[-1],
            )
            return tf.reduce_sum(losses), [each / training.batch_size for each in gradients]
        with tf.GradientTape() as tape:
            losses = all_losses(learner.recipe, learner.loss, batch, encode(batch))
            total = tf.reduce_sum(losses)
            # A penalty on weights is the same on each replica, and would be added up as often.
            penalties = sum(learner.network.losses) / replicas
            objective = total / training.batch_size + penalties
        return total, dense(tape.gradient(objective, variables), variables)

    # Collectives inside of a compiled function: XLA has them for TPUs only.
    compiles = training.xla and not (learner.recipe.looks_across and replicas > 1)
    compiled = tf.function(gradients_of, jit_compile=True) if compiles else gradients_of

    def on_replica(batch: Batch, stop: tf.Tensor) -> tf.Tensor:
        rows = tf.reduce_sum(batch["weight"])
        total, gradients = compiled(batch)
        # Keras's optimizers add the replicas' gradients up themselves.
        optimizer.apply(_clip_together(gradients, optimizer, replicas), variables)
        total = tf.where(tf.math.is_finite(tf.linalg.global_norm(gradients)), total, math.nan)
        return tf.stack([total, rows, stop])

    @tf.function(input_signature=[element_spec, tf.TensorSpec([], tf.float32)])
    def step(batch: Any, stop: tf.Tensor) -> tf.Tensor:
        parts = strategy.run(on_replica, args=(batch, stop))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, parts, axis=None)

    return step


def _marks(batch: Batch) -> tf.Tensor:
    """A number for each sentence, first sides before second ones, equal for equal ones: [2 b]."""
    return tf.concat([fingerprints(side) for side in sides(batch)], axis=0)


def all_losses(recipe: Recipe, loss: Loss, batch: Batch, output: Any) -> tf.Tensor:
    """`losses_of`, and of a teacher's vectors where those are learned, [b]."""
    losses = losses_of(recipe, loss, batch, output)
    if recipe.distill is None or FIRST not in batch:
        return losses
    apart = vector_losses(batch, output) * batch["weight"]
    return losses + recipe.distill.vectors * apart


def losses_of(recipe: Recipe, loss: Loss, batch: Batch, output: Any) -> tf.Tensor:
    """The loss of each pair of this replica, [b].

    A loss that looks across the batch sees the pairs of all replicas, in the order in which one
    device would have them; every replica keeps the losses of its own pairs. The gradient flows back
    to the replica of each vector. So many workers train what one does.
    """
    labels, weights, output = batch["label"], batch["weight"], judged(output)
    if not recipe.looks_across:
        return loss(labels, output, weights)
    # Of the sentences themselves, not of what `token_dropout` leaves: hidden otherwise on either
    # side, a sentence would be taken for its own negative.
    marks = tf.stack([fingerprints(side) for side in sides(batch)], axis=1)
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1:
        return loss(labels, {**output, "fingerprints": marks}, weights)
    vectors = {name: tf.cast(value, tf.float32) for name, value in output.items()}
    vectors = context.all_gather(vectors, axis=0)
    count = tf.cast(tf.shape(labels)[:1], tf.float32)  # collectives of GPUs take no integers
    # Marks have 24 bits, so that float32 holds them exactly on the way.
    known = (labels, weights, tf.cast(marks, tf.float32), count)
    labels, weights, marks, counts = context.all_gather(known, axis=0)
    losses = loss(labels, {**vectors, "fingerprints": marks}, weights)
    # Replicas may have different numbers of rows, in the last batch of an epoch for one.
    counts, replica = tf.cast(counts, tf.int32), context.replica_id_in_sync_group
    start = tf.reduce_sum(counts[:replica])
    return losses[start : start + counts[replica]]


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


def _similarities(recipe: Recipe, output: Any) -> dict[str, tf.Tensor]:
    """`similarity` [b], and `similarity_N` by the first N floats for vectors that can be cut."""
    found = {"similarity": tf.cast(similarity(recipe, output), tf.float32)}
    for size in recipe.shorter:
        cut = {side: output[side][:, :size] for side in "uv"}
        found[f"similarity_{size}"] = tf.cast(similarity(recipe, cut), tf.float32)
    return found


def _with_unrelated(
    recipe: Recipe, batch: Batch, output: Any, found: dict[str, tf.Tensor]
) -> dict[str, tf.Tensor]:
    """Similar pairs alone have no threshold: each first side also meets the next pair's second.

    Those are of about the same length, and taken for different, but where they are the same
    sentence. They have no loss.
    """
    output = {**output, "v": tf.roll(output["v"], -1, axis=0)}
    marks = [fingerprints(side) for side in sides(batch)]
    others, weights = tf.roll(marks[1], -1, axis=0), batch["weight"]
    differ = tf.logical_and(tf.not_equal(others, marks[1]), tf.not_equal(others, marks[0]))
    unrelated = {
        **_similarities(recipe, output),
        "label": tf.zeros_like(found["label"]),
        "loss": tf.zeros_like(found["loss"]),
        "weight": weights * tf.roll(weights, -1, axis=0) * tf.cast(differ, tf.float32),
    }
    return {name: tf.concat([found[name], unrelated[name]], axis=0) for name in found}


def make_eval_step(
    strategy: tf.distribute.Strategy,
    recipe: Recipe,
    forward: Forward,
    loss: Loss,
    *,
    element_spec: Any,
) -> Callable[[Any], dict[str, tf.Tensor]]:
    """A function batch → what evaluation keeps of all replicas' rows together, [b] each.

    `similarity`, `label`, `loss`, `weight` and, for several classes, the class that is `predicted`,
    or by fewer floats the `similarity_N`: a few numbers a pair, however long its vectors are.
    """

    def on_replica(batch: Batch) -> dict[str, tf.Tensor]:
        batch = as_pairs(labelled(batch))
        output = forward(sides(batch), False)
        found = {
            **_similarities(recipe, output),
            "label": batch["label"],
            "loss": losses_of(recipe, loss, batch, output),
            "weight": batch["weight"],
        }
        if recipe.task == "classes":
            found["predicted"] = tf.cast(tf.argmax(output, axis=-1), tf.float32)
        return _with_unrelated(recipe, batch, output, found) if recipe.reads_positives else found

    @tf.function(input_signature=[element_spec])
    def step(batch: Any) -> dict[str, tf.Tensor]:
        parts = strategy.run(on_replica, args=(batch,))
        if strategy.num_replicas_in_sync == 1:
            return parts
        # Every worker sees all rows, so every worker chooses the same epoch and threshold.
        return {name: strategy.gather(part, axis=0) for name, part in parts.items()}

    return step
