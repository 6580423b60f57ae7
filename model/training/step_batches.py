"""What a step makes of a batch before the network sees it; plain functions from batch to batch.

A batch has `ids1` and `ids2` (or `text1` and `text2`), of triplets a third side too, `label`,
`row`, `weight` and maybe `teacher`, see `dataset.batches`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from model.dataset.teacher_vectors import FIRST, SECOND
from model.network.dropout import current_rows, hide_tokens

if TYPE_CHECKING:
    from model.recipe.recipe import Recipe

Batch = dict[str, tf.Tensor]

_ANOTHER = 1 << 28  # more rows than a batch has: sets numbers of other sentences apart


def sides(batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
    """What the network reads of a batch: ids, or raw text."""
    return (batch["text1"], batch["text2"]) if "text1" in batch else (batch["ids1"], batch["ids2"])


def taught(recipe: Recipe, batch: Batch) -> Batch:
    """A batch whose labels are a mean of label and teacher's score; without a label, the score.

    Losses that are linear in the label, as cross-entropy and the contrastive loss are, so become
    the mean of both losses (Hinton, Vinyals and Dean 2015); a squared error does up to a constant.
    """
    if recipe.distill is None or "teacher" not in batch:
        return batch
    label, teacher, share = batch["label"], batch["teacher"], recipe.distill.weight
    mixed = tf.where(tf.math.is_nan(label), teacher, (1 - share) * label + share * teacher)
    return {**batch, "label": mixed}


def labelled(batch: Batch) -> Batch:
    """A batch where pairs without a label are not there: nothing can be measured by them."""
    unknown = tf.math.is_nan(batch["label"])
    return {
        **batch,
        "label": tf.where(unknown, 0.0, batch["label"]),
        "weight": tf.where(unknown, 0.0, batch["weight"]),
    }


def as_pairs(batch: Batch) -> Batch:
    """A batch of triplets as two of pairs: all with their positives, then with their negatives.

    Each of their sentences gets its own number, which dropout needs: see `slots`.
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


def mirrored(batch: Batch) -> Batch:
    """Each pair also with its sides exchanged, either of them with half the weight."""
    first, second = sides(batch)
    vectors = {}
    if FIRST in batch:
        vectors[FIRST] = tf.concat([batch[FIRST], batch[SECOND]], axis=0)
        vectors[SECOND] = tf.concat([batch[SECOND], batch[FIRST]], axis=0)
    name1, name2 = ("text1", "text2") if "text1" in batch else ("ids1", "ids2")
    return {
        name1: tf.concat([first, second], axis=0),
        name2: tf.concat([second, first], axis=0),
        "label": tf.tile(batch["label"], [2]),
        "row": tf.concat([batch["row"], batch["row"] + _ANOTHER], axis=0),
        "weight": tf.tile(batch["weight"] / 2, [2]),
        **vectors,
    }


# Every sentence of a step has a number of its own, which decides what dropout drops of it. Sides 1
# of the pairs are numbered from 0; second halves, as of triplets or mirrored pairs, from _ANOTHER;
# sides 2 from twice that. Rows of a batch stay far below, so none meet.
def slots(batch: Batch) -> tf.Tensor:
    """Numbers of the batch's sentences, [2 b]: first sides, then second sides, as encoded."""
    return tf.concat([batch["row"], batch["row"] + 2 * _ANOTHER], axis=0)


def partly_hidden(batch: Batch, share: float) -> tuple[tf.Tensor, tf.Tensor]:
    """Both sides' ids, with such a share of the tokens as unknown ones."""
    rows1, rows2 = tf.split(current_rows(), 2)
    ids1, ids2 = sides(batch)
    return hide_tokens(ids1, rows1, share), hide_tokens(ids2, rows2, share)
