"""Training in processes of its own: killed at any step, and shared by two over loopback."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.model.tiny_examples import write_examples
from tests.model.training.test_fitting import recipe

ROOT = Path(__file__).resolve().parents[3]
LIMIT = 300
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    rules = recipe(epochs=3)
    return write_examples(tmp_path_factory.mktemp("processes") / "examples", rules.to_yaml())


def start(*arguments, tf_config=None):
    environ = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONUNBUFFERED": "1"}
    if tf_config:
        environ["TF_CONFIG"] = json.dumps(tf_config)
    return subprocess.Popen(
        [sys.executable, "-m", "tests.model.training.fit_worker", *map(str, arguments)],
        cwd=ROOT,
        env=environ,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finish(process):
    out, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, errors[-2000:]
    return out


def signal_at(process, step, number):
    for line in process.stdout:
        if line.strip() == f"step {step}":
            process.send_signal(number)
            break
    return process.communicate(timeout=LIMIT)


def read(path):
    stored = np.load(path)
    outcome = json.loads(str(stored["history"]))
    return [stored[name] for name in stored.files if name != "history"], outcome


def free_ports(count):
    held = [socket.socket() for _ in range(count)]
    for each in held:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


def clusters():
    hosts = [f"127.0.0.1:{port}" for port in free_ports(2)]
    return [
        {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}}
        for index in range(2)
    ]


@pytest.fixture(scope="module")
def undisturbed(folder):
    out = folder.parent / "undisturbed.npz"
    finish(start(folder, out))
    return read(out)


def test_killed_at_any_step_it_ends_with_the_same_weights(folder, undisturbed, tmp_path):
    dice = random.Random(1)
    for step in (dice.randint(1, 12), dice.randint(1, 8)):  # counted from where it goes on
        process = start(folder, tmp_path / "never.npz", tmp_path / "checkpoints")
        signal_at(process, step, signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
    out = tmp_path / "out.npz"
    finish(start(folder, out, tmp_path / "checkpoints"))
    weights, outcome = read(out)
    wanted, undisturbed_outcome = undisturbed
    # One CPU device: not a bit differs.
    assert all(map(np.array_equal, weights, wanted))
    assert [r["loss"] for r in outcome["history"]] == [
        r["loss"] for r in undisturbed_outcome["history"]
    ]


def test_two_workers_train_as_one_does(folder, undisturbed, tmp_path):
    outs = [tmp_path / "0.npz", tmp_path / "1.npz"]
    processes = [
        start(folder, out, tmp_path / "checkpoints", tf_config=config)
        for out, config in zip(outs, clusters(), strict=True)
    ]
    for process in processes:
        finish(process)
    (weights, outcome), (others, _) = map(read, outs)
    assert all(map(np.array_equal, weights, others))
    wanted, alone = undisturbed
    np.testing.assert_allclose(outcome["losses"], alone["losses"], rtol=1e-4)
    for ours, theirs in zip(weights, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    accuracies = [[r["eval_accuracy"] for r in t["history"]] for t in (outcome, alone)]
    np.testing.assert_allclose(*accuracies, atol=0.02)


@pytest.mark.parametrize("victim", [0, 1], ids=["the chief", "the other"])
def test_a_killed_worker_ends_the_other_and_both_go_on_from_the_checkpoint(
    folder, undisturbed, tmp_path, victim
):
    outs = [tmp_path / "0.npz", tmp_path / "1.npz"]

    def both():
        return [
            start(folder, out, tmp_path / "checkpoints", tf_config=config)
            for out, config in zip(outs, clusters(), strict=True)
        ]

    workers = both()
    signal_at(workers[victim], 13, signal.SIGKILL)
    left = workers[1 - victim]
    _, errors = left.communicate(timeout=LIMIT)
    assert left.returncode != 0 and not any(out.exists() for out in outs), errors[-2000:]
    for process in both():
        finish(process)
    weights, _ = read(outs[0])
    for ours, theirs in zip(weights, undisturbed[0], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_sigterm_to_one_worker_stops_both_at_the_same_step(folder, tmp_path):
    processes = [
        start(folder, tmp_path / f"{i}.npz", tmp_path / "checkpoints", tf_config=config)
        for i, config in enumerate(clusters())
    ]
    _, errors = signal_at(processes[1], 5, signal.SIGTERM)
    _, chief_errors = processes[0].communicate(timeout=LIMIT)
    assert [process.returncode for process in processes] == [1, 1]
    stopped = [
        text.split("stopped by SIGTERM at ")[1].split(";")[0] for text in (errors, chief_errors)
    ]
    assert stopped[0] == stopped[1]
