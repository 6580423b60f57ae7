from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from model.network.dropout import dropping, hide_tokens

ROWS, WIDTH = 400, 20


def ids(width=WIDTH):
    """Sentences of 1 to `WIDTH` tokens, ids from 2, padded on the right."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, WIDTH, ROWS)
    table = rng.integers(2, 50, (ROWS, WIDTH)) * (np.arange(WIDTH) < lengths[:, None])
    return np.pad(table, [(0, 0), (0, width - WIDTH)]).astype(np.int32)


def hidden(table, rows, step=3, rate=0.2):
    with dropping(tf.constant(rows), tf.constant(step)):
        return hide_tokens(tf.constant(table), tf.constant(rows, tf.uint32), rate).numpy()


def test_a_share_of_the_tokens_becomes_unknown_and_nothing_else_changes():
    table = ids()
    shown = hidden(table, np.arange(ROWS))
    tokens = table > 0
    assert (shown[~tokens] == 0).all()
    changed = shown != table
    assert (shown[changed] == 1).all()
    deviation = math.sqrt(0.2 * 0.8 / tokens.sum())  # of a binomial's share
    assert abs(changed[tokens].mean() - 0.2) < 4 * deviation


def test_a_token_is_hidden_by_its_row_and_the_step_and_not_by_its_neighbours():
    table, rows = ids(), np.arange(ROWS)
    whole = hidden(table, rows)
    half = hidden(ids(WIDTH + 4)[1::2], rows[1::2])  # as another worker has them, padded further
    assert (half[:, :WIDTH] == whole[1::2]).all()
    assert (hidden(table, rows, step=4) != whole).any()
