"""One step of training and one of evaluation, the same on one device and on many.

The loss of a step is the sum over its examples divided by the global batch size. So gradients of
replicas add up to those of one device, and an uneven last batch weighs what its examples weigh.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from model.dataset.batches import InputShare
from model.network.dropout import current_rows, dropping, hide_tokens
from model.network.forward import Forward
from model.network.siamese import fingerprints, similarity
from model.recipe.recipe import Recipe
from model.training.cached_gradients import cached_gradients
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


@dataclass(frozen=True)
class Learner:
    """What a training step works on.

    Attributes:
        recipe: says how.
        network: whose weights are trained.
        forward: how it is run, see `forward`.
        loss: see `losses`.
        optimizer: built, in the strategy's scope.
    """

    recipe: Recipe
    network: keras.Model
    forward: Forward
    loss: Loss
    optimizer: keras.optimizers.Optimizer


def make_train_step(
    strategy: tf.distribute.Strategy, learner: Learner, *, element_spec: Any
) -> Callable[[Any, int], tf.Tensor]:
    """A function (batch, stop) → float32 [3]: sums of losses, of examples and of `stop` flags.

    `stop` is this worker's wish to stop (0 or 1): with the sum all workers learn of it at once.
    The loss is NaN too where only a gradient is no number.
    """
    training, optimizer = learner.recipe.training, learner.optimizer
    hidden = learner.recipe.token_dropout
    variables = learner.network.trainable_variables
    replicas = strategy.num_replicas_in_sync

    def encode(batch: Batch) -> Any:
        with dropping(_slots(batch), optimizer.iterations):
            shown = _partly_hidden(batch, hidden) if hidden else sides(batch)
            return learner.forward(shown, True)

    def gradients_of(batch: Batch) -> tuple[tf.Tensor, list[tf.Tensor]]:
        batch = _as_pairs(_taught(learner.recipe, batch))
        batch = _mirrored(batch) if training.mirror else batch
        if training.encode_at_once:
            losses, gradients = cached_gradients(
                batch,
                encode,
                lambda output: losses_of(learner.recipe, learner.loss, batch, output),
                variables,
                at_once=training.encode_at_once,
                dimensions=learner.network.output["u"].shape[-1],
            )
            return tf.reduce_sum(losses), [each / training.batch_size for each in gradients]
        with tf.GradientTape() as tape:
            losses = losses_of(learner.recipe, learner.loss, batch, encode(batch))
            total = tf.reduce_sum(losses)
            penalties = sum(learner.network.losses) / replicas
            objective = total / training.batch_size + penalties
        return total, dense(tape.gradient(objective, variables), variables)

    # Collectives inside of a compiled function: XLA has them for TPUs only.
    compiles = training.xla and not (learner.recipe.looks_across and replicas > 1)
    compiled = tf.function(gradients_of, jit_compile=True) if compiles else gradients_of

    def on_replica(batch: Batch, stop: tf.Tensor) -> tf.Tensor:
        rows = tf.reduce_sum(batch["weight"])
        total, gradients = compiled(batch)
        optimizer.apply(_clip_together(gradients, optimizer, replicas), variables)
        total = tf.where(tf.math.is_finite(tf.linalg.global_norm(gradients)), total, math.nan)
        return tf.stack([total, rows, stop])

    @tf.function(input_signature=[element_spec, tf.TensorSpec([], tf.float32)])
    def step(batch: Any, stop: tf.Tensor) -> tf.Tensor:
        parts = strategy.run(on_replica, args=(batch, stop))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, parts, axis=None)

    return step


def losses_of(recipe: Recipe, loss: Loss, batch: Batch, output: Any) -> tf.Tensor:
    """The loss of each pair of this replica, [b].

    A loss that looks across the batch sees the pairs of all replicas, in the order in which one
    device would have them; every replica keeps the losses of its own. The gradient flows back to
    whose vectors they are. So many workers train what one does.
    """
    labels, weights = batch["label"], batch["weight"]
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
    known = (labels, weights, tf.cast(marks, tf.float32), count)
    labels, weights, marks, counts = context.all_gather(known, axis=0)
    losses = loss(labels, {**vectors, "fingerprints": marks}, weights)
    counts, replica = tf.cast(counts, tf.int32), context.replica_id_in_sync_group
    start = tf.reduce_sum(counts[:replica])
    return losses[start : start + counts[replica]]


def _taught(recipe: Recipe, batch: Batch) -> Batch:
    """A batch whose labels are a mean of label and teacher's score; without a label, the score.

    Losses that are linear in the label, as cross-entropy and the contrastive loss are, so become
    the mean of both losses (Hinton, Vinyals and Dean 2015); a squared error does up to a constant.
    """
    if recipe.distill is None or "teacher" not in batch:
        return batch
    label, teacher, share = batch["label"], batch["teacher"], recipe.distill.weight
    mixed = tf.where(tf.math.is_nan(label), teacher, (1 - share) * label + share * teacher)
    return {**batch, "label": mixed}


def _labelled(batch: Batch) -> Batch:
    """A batch where pairs without a label are not there: nothing can be measured by them."""
    unknown = tf.math.is_nan(batch["label"])
    return {
        **batch,
        "label": tf.where(unknown, 0.0, batch["label"]),
        "weight": tf.where(unknown, 0.0, batch["weight"]),
    }


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


def _similarities(recipe: Recipe, output: Any) -> dict[str, tf.Tensor]:
    """`similarity` [b], and `similarity_N` by the first N floats for vectors that can be cut."""
    found = {"similarity": tf.cast(similarity(recipe, output), tf.float32)}
    for size in recipe.shorter:
        cut = {side: output[side][:, :size] for side in "uv"}
        found[f"similarity_{size}"] = tf.cast(similarity(recipe, cut), tf.float32)
    return found


def _with_strangers(
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
    strangers = {
        **_similarities(recipe, output),
        "label": tf.zeros_like(found["label"]),
        "loss": tf.zeros_like(found["loss"]),
        "weight": weights * tf.roll(weights, -1, axis=0) * tf.cast(differ, tf.float32),
    }
    return {name: tf.concat([found[name], strangers[name]], axis=0) for name in found}


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
        batch = _as_pairs(_labelled(batch))
        output = forward(sides(batch), False)
        found = {
            **_similarities(recipe, output),
            "label": batch["label"],
            "loss": losses_of(recipe, loss, batch, output),
            "weight": batch["weight"],
        }
        if recipe.task == "classes":
            found["predicted"] = tf.cast(tf.argmax(output, axis=-1), tf.float32)
        return _with_strangers(recipe, batch, output, found) if recipe.reads_positives else found

    @tf.function(input_signature=[element_spec])
    def step(batch: Any) -> dict[str, tf.Tensor]:
        parts = strategy.run(on_replica, args=(batch,))
        if strategy.num_replicas_in_sync == 1:
            return parts
        return {name: strategy.gather(part, axis=0) for name, part in parts.items()}

    return step
