"""What recipes choose for GPUs: bfloat16 layers and XLA. Both run on a CPU too, only slower."""

from __future__ import annotations

import numpy as np
import pytest

from model.dataset.examples import open_examples
from model.network.siamese import build_siamese
from model.recipe.reading import parse_recipe
from tests.model.tiny_examples import write_examples
from tests.model.training.test_fitting import TINY, train
from transforms.errors import UserError

ENCODERS = {
    "cnn": {"kind": "cnn", "filters": 4, "widths": [2], "dropout": 0.0},
    "transformer": {
        "kind": "transformer",
        "layers": 1,
        "heads": 2,
        "feed_forward": 8,
        "dropout": 0.0,
    },
    "bilstm": {"kind": "bilstm", "units": [4, 3]},
    "bilstm, mean": {"kind": "bilstm", "units": [4], "pooling": "mean_max"},
}


def recipe(encoder, **training):
    parts = {"encoder": ENCODERS[encoder], "training": TINY["training"] | training}
    return parse_recipe(TINY | parts, source="here")


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("precision") / "examples"
    return open_examples(str(write_examples(folder, recipe("cnn").to_yaml())))


@pytest.mark.parametrize("encoder", ENCODERS)
def test_layers_compute_in_bfloat16_and_weights_and_results_are_float32(encoder):
    rules = recipe(encoder)
    siamese = build_siamese(rules, vocabulary_size=20, precision="mixed_bfloat16")
    inner = [layer.compute_dtype for layer in siamese.encoder.layers if layer.weights]
    assert "bfloat16" in inner
    assert {weight.dtype for weight in siamese.network.weights} == {"float32"}
    assert siamese.encoder.output.dtype == siamese.network.output.dtype == "float32"
    plain = build_siamese(rules, vocabulary_size=20)
    assert {layer.compute_dtype for layer in plain.encoder.layers} == {"float32"}


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["cnn", "bilstm"])
def test_mixed_precision_trains_about_as_float32_does(examples, encoder):
    # Small steps: Adam makes a whole one of a gradient near zero, whichever sign rounding gives it.
    small = {"learning_rate": 0.001}
    mixed, weights = train(examples, recipe(encoder, precision="mixed_bfloat16", **small))
    plain, others = train(examples, recipe(encoder, **small))
    losses = [[record["loss"] for record in run.history] for run in (mixed, plain)]
    assert losses[0] != losses[1]  # so something else was computed
    np.testing.assert_allclose(*losses, rtol=0.02)  # bfloat16 keeps 8 bits: 1/256
    # What is evaluated is the float32 network with the trained weights, so it has them too.
    assert not any(map(np.array_equal, weights, others))
    assert mixed.evaluation.loss == pytest.approx(plain.evaluation.loss, rel=0.02)


@pytest.mark.slow
def test_mixed_precision_goes_on_from_a_checkpoint(examples, tmp_path):
    rules = recipe("cnn", precision="mixed_bfloat16", epochs=2)
    _, whole = train(examples, rules)
    train(examples, rules, folder=tmp_path)
    _, again = train(examples, rules, folder=tmp_path)
    assert all(map(np.array_equal, whole, again))


@pytest.mark.slow
@pytest.mark.parametrize(("encoder", "idle"), [("cnn", 0), ("transformer", 2)])
def test_xla_gives_the_same_training(examples, encoder, idle):
    compiled, weights = train(examples, recipe(encoder, xla=True, epochs=1))
    plain, others = train(examples, recipe(encoder, epochs=1))
    assert compiled.history[0]["loss"] == pytest.approx(plain.history[0]["loss"], rel=1e-4)
    # A softmax does not see the keys' bias, nor a distance the last shift: rounding moves the two.
    apart = [not np.allclose(*pair, atol=1e-5) for pair in zip(weights, others, strict=True)]
    assert sum(apart) <= idle


def test_xla_is_refused_where_it_cannot_be():
    with pytest.raises(UserError, match="training.xla: cannot compile the encoder bilstm"):
        recipe("bilstm", xla=True)
