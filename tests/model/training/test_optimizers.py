from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from model.training.optimizers import make_optimizer, make_schedule
from tests.model.tiny_recipes import recipe


def rates(steps: int = 10, **training) -> list[float]:
    schedule = make_schedule(recipe(training={"learning_rate": 0.8, "epochs": 2} | training), steps)
    if isinstance(schedule, float):
        return [schedule] * (2 * steps)
    return [float(schedule(step)) for step in range(2 * steps)]


def test_constant():
    assert rates() == [0.8] * 20


def test_constant_after_warming_up():
    # Warm-up over 4 of 20 steps: from 0.8 / 5 up by 0.16 a step, and 0.8 from step 4 on.
    np.testing.assert_allclose(rates(warmup=0.2), [0.16, 0.32, 0.48, 0.64, *[0.8] * 16], rtol=1e-5)


def test_cosine():
    # 0.8 · (1 + cos(π step / 20)) / 2
    expected = [0.4 * (1 + math.cos(math.pi * step / 20)) for step in range(20)]
    np.testing.assert_allclose(rates(schedule="cosine"), expected, rtol=1e-4)


def test_cosine_after_warming_up_ends_near_zero():
    found = rates(schedule="cosine", warmup=0.2)
    assert max(found) == found[4] == pytest.approx(0.8)
    assert found == sorted(found[:4]) + sorted(found[4:], reverse=True)
    assert found[-1] < 0.01


@pytest.mark.parametrize("kind", ["nadam", "adam", "adamw"])
def test_settings_arrive(kind):
    rules = recipe(
        training={
            "optimizer": kind,
            "learning_rate": 2e-6,
            "epsilon": 1e-8,
            "clip_norm": 1.5,
            "average": 0.9,
        }
    )
    optimizer = make_optimizer(rules, 10)
    assert type(optimizer).__name__.lower() == kind
    assert float(optimizer.learning_rate) == pytest.approx(2e-6)
    assert (optimizer.epsilon, optimizer.global_clipnorm) == (1e-8, 1.5)


def test_the_average_soon_forgets_the_first_weights():
    # Adam without momentum moves by the learning rate each step: the weight is 9, 8, 7 …, and the
    # decay after the first step 2/11, 3/12, 4/13 … until it is 0.9 at (1 + t)/(10 + t), t = 80.
    optimizer = make_optimizer(recipe(training={"learning_rate": 1.0, "average": 0.9}), 10)
    weight = keras.Variable([10.0])
    optimizer.build([weight])
    step_once = tf.function(lambda: optimizer.apply([tf.ones(1)], [weight]))
    expected, rates = 9.0, []
    for step in range(120):
        step_once()
        decay = min(0.9, (1 + step) / (10 + step)) if step else 0.0
        expected = decay * expected + (1 - decay) * float(weight[0])
        rates.append(decay)
    assert rates[79] < 0.9 and rates[80] == 0.9
    optimizer.finalize_variable_values([weight])
    assert float(weight[0]) == pytest.approx(expected, rel=1e-4)
    # At the full decay an average lags 0.9 / (1 − 0.9) = 9 steps behind.
    assert expected == pytest.approx(10 - 120 + 9, abs=0.2)


def test_the_first_step_of_adam_by_hand():
    # Adam's first step is learning rate · g / (|g| + ε') towards less loss: 0.1 whatever g is.
    optimizer = make_optimizer(recipe(training={"learning_rate": 0.1}), 10)
    weight = keras.Variable([1.0, 1.0])
    optimizer.apply([np.array([5.0, -0.01], np.float32)], [weight])
    np.testing.assert_allclose(weight, [0.9, 1.1], rtol=1e-4)


@pytest.mark.parametrize("kind", ["nadam", "adam", "adamw"])
def test_weight_decay_shrinks_kernels_only(kind):
    # Without a gradient, decay alone: w · (1 − learning rate · decay) = 1 − 0.1 · 0.5.
    rules = recipe(training={"optimizer": kind, "learning_rate": 0.1, "weight_decay": 0.5})
    optimizer = make_optimizer(rules, 10)
    weights = [keras.Variable([1.0], name=name) for name in ("kernel", "bias", "embeddings")]
    optimizer.apply([np.zeros(1, np.float32)] * 3, weights)
    np.testing.assert_allclose([float(w[0]) for w in weights], [0.95, 1, 1], rtol=1e-6)


def test_without_decay_nothing_shrinks():
    optimizer = make_optimizer(recipe(training={"optimizer": "adamw"}), 10)
    weight = keras.Variable([1.0], name="kernel")
    optimizer.apply([np.zeros(1, np.float32)], [weight])
    assert float(weight[0]) == 1


def test_gradients_are_clipped_together():
    # Norm of (3, 4) is 5; clipped to 1 it is (0.6, 0.8). Adam's first moment is 0.1 of that.
    optimizer = make_optimizer(recipe(training={"clip_norm": 1.0}), 10)
    weights = [keras.Variable([0.0]), keras.Variable([0.0])]
    optimizer.apply([np.array([3.0], np.float32), np.array([4.0], np.float32)], weights)
    moments = [v for v in optimizer.variables if "momentum" in v.path]
    np.testing.assert_allclose([float(m[0]) for m in moments], [0.06, 0.08], rtol=1e-5)


def test_weight_decay_leaves_positions_as_it_leaves_embeddings():
    from model.network.siamese import build_siamese

    transformer = {"kind": "transformer", "layers": 1, "heads": 2, "feed_forward": 4}
    rules = recipe(
        encoder=transformer,
        training={"optimizer": "adamw", "weight_decay": 0.5, "learning_rate": 0.1},
    )
    weights = build_siamese(rules, vocabulary_size=9).network.trainable_variables
    before = [weight.numpy() for weight in weights]
    optimizer = make_optimizer(rules, 1)
    optimizer.build(weights)
    optimizer.apply([tf.zeros(weight.shape) for weight in weights], weights)
    # A step without a gradient is decay alone: w − 0.1 · 0.5 · w.
    for weight, start in zip(weights, before, strict=True):
        kept = weight.path.rpartition("/")[2] in (
            "bias",
            "gamma",
            "beta",
            "embeddings",
            "positions",
        )
        np.testing.assert_allclose(weight, start if kept else 0.95 * start, rtol=1e-5)
    names = [weight.path.rpartition("/")[2] for weight in weights]
    assert names.count("positions") == 1 and "kernel" in names
