"""Two replicas train what one device does, for every loss and every dropout; on logical CPUs.

A process of its own: logical devices must be made before TensorFlow begins.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
CNN = {"encoder": {"kind": "cnn", "filters": 4, "widths": [2], "dropout": 0.2}}
TRANSFORMER = {"kind": "transformer", "layers": 1, "heads": 2, "feed_forward": 8, "dropout": 0.3}
EUCLIDEAN = {"comparison": {"kind": "euclidean"}}
CASES = {
    "semi-hard": CNN | EUCLIDEAN | {"loss": {"kind": "triplet", "mining": "semi_hard"}},
    "in pieces": CNN
    | {"comparison": {"kind": "cosine"}, "loss": {"kind": "multiple_negatives"}}
    | {"training": {"encode_at_once": 10}},
    "attention dropout": {"encoder": TRANSFORMER},
    "hidden tokens": CNN
    | EUCLIDEAN
    | {"loss": {"kind": "triplet"}, "embedding": {"dimensions": 8, "token_dropout": 0.3}},
}
CODE = """
import json, sys
import keras, numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from model.dataset.examples import open_examples
from model.network.siamese import build_siamese
from model.recipe.reading import parse_recipe
from model.training.fitting import fit
from model.training.reporter import Reporter
from model.training.strategy import choose_strategy
from tests.model.tiny_examples import write_examples
from tests.model.training.test_fitting import TINY
from pathlib import Path

folder, cases, found = Path(sys.argv[1]), json.loads(sys.argv[2]), {}
# Each once: a second strategy of a process would number its collectives like the first.
placements = {name: choose_strategy(name) for name in ("one", "mirrored")}
for name, parts in cases.items():
    training = TINY["training"] | {"epochs": 1, "batch_size": 46} | parts.pop("training", {})
    rules = parse_recipe(TINY | {"training": training} | parts, source="here")
    examples = open_examples(str(write_examples(folder / name, rules.to_yaml(), rows=92)))
    for strategy, placement in placements.items():
        keras.utils.set_random_seed(5)
        with placement.strategy.scope():
            siamese = build_siamese(rules, vocabulary_size=examples.vocabulary_size)
        before = [w.numpy() for w in siamese.network.trainable_variables]
        result = fit(siamese, rules, examples, placement=placement, reporter=Reporter(silent=True))
        after = [w.numpy() for w in siamese.network.trainable_variables]
        found.setdefault(name, {})[strategy] = {
            "replicas": placement.replicas,
            "loss": result.history[0]["loss"], "eval_loss": result.history[0]["eval_loss"],
            "weights": np.concatenate([w.ravel() for w in after]).tolist(),
            "moved": float(max(np.abs(a - b).max() for a, b in zip(after, before))),
        }
print("FOUND" + json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replicas")
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(folder), json.dumps(CASES)],
        cwd=ROOT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)},
        text=True,
        capture_output=True,
    )
    assert "FOUND" in done.stdout, done.stderr[-3000:]
    return json.loads(done.stdout.split("FOUND")[1])


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", CASES)
def test_two_replicas_train_what_one_device_does(found, name):
    alone, shared = found[name]["one"], found[name]["mirrored"]
    assert (alone["replicas"], shared["replicas"]) == (1, 2)
    assert shared["loss"] == pytest.approx(alone["loss"], rel=1e-6)
    assert shared["eval_loss"] == pytest.approx(alone["eval_loss"], rel=1e-5)
    assert alone["moved"] > 1e-2  # two steps of 0.01 each
    # Where a gradient is zero, as that of attention's key bias is, Adam steps by its rounding.
    assert shared["weights"] == pytest.approx(alone["weights"], abs=1e-3)
