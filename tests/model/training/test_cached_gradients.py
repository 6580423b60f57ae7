"""A batch in pieces gives the gradient of the batch as one."""

from __future__ import annotations

import numpy as np
import pytest

from model.dataset.examples import open_examples
from model.recipe.reading import parse_recipe
from tests.model.tiny_examples import write_examples
from tests.model.tiny_recipes import recipe
from tests.model.training.test_fitting import TINY, train
from transforms.errors import UserError

NEGATIVES = {
    "comparison": {"kind": "cosine"},
    "loss": {"kind": "multiple_negatives"},
    "embedding": {"dimensions": 8, "token_dropout": 0.2},
}


def test_training_in_pieces_is_training_on_whole_batches(tmp_path):
    # 70 pairs in batches of 32, 32 and 6, in pieces of 10: the last of each batch is smaller.
    examples = open_examples(str(write_examples(tmp_path / "examples", "", rows=70, eval_rows=10)))
    ends = []
    for at_once in (None, 10):
        training = TINY["training"] | {"epochs": 1, "encode_at_once": at_once}
        rules = parse_recipe(TINY | NEGATIVES | {"training": training}, source="here")
        result, weights = train(examples, rules)
        ends.append((result.history[0]["loss"], weights))
    (whole, wanted), (pieces, found) = ends
    assert pieces == pytest.approx(whole, rel=1e-5)
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_pieces_are_for_losses_on_vectors():
    with pytest.raises(UserError, match="training.encode_at_once: only for losses on vectors"):
        recipe(training={"encode_at_once": 8})
