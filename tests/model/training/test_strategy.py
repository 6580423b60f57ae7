from __future__ import annotations

import json

import pytest
import tensorflow as tf

from model.training.strategy import choose_strategy, read_cluster
from transforms.errors import UserError


def environ(**config):
    return {"TF_CONFIG": json.dumps(config)}


def test_without_tf_config_this_process_is_alone_and_chief():
    cluster = read_cluster({})
    assert (cluster.workers, cluster.is_chief) == (1, True)


@pytest.mark.parametrize(
    ("task", "index", "chief"), [("chief", 0, True), ("worker", 0, False), ("worker", 1, False)]
)
def test_a_chief_in_the_cluster_is_the_one_that_writes(task, index, chief):
    hosts = {"chief": ["a:1"], "worker": ["b:1", "c:1"]}
    cluster = read_cluster(environ(cluster=hosts, task={"type": task, "index": index}))
    assert (cluster.workers, cluster.is_chief) == (3, chief)


@pytest.mark.parametrize("index", [0, 1])
def test_without_a_chief_worker_0_writes(index):
    hosts = {"worker": ["b:1", "c:1"]}
    cluster = read_cluster(environ(cluster=hosts, task={"type": "worker", "index": index}))
    assert (cluster.workers, cluster.is_chief) == (2, index == 0)


def test_what_vertex_ai_adds_to_tf_config_is_passed_over():
    # As its documentation shows it for a custom job with two worker pools.
    config = {
        "cluster": {"chief": ["cmle-training-0:2222"], "worker": ["cmle-training-1:2222"]},
        "environment": "cloud",
        "job": json.dumps({"worker_pool_specs": []}),
        "task": {"type": "worker", "index": 0, "cloud": "x"},
    }
    cluster = read_cluster({"TF_CONFIG": json.dumps(config)})
    assert (cluster.workers, cluster.task, cluster.is_chief) == (2, "worker", False)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{not json", "cannot be read"),
        ("[1, 2]", "cannot be read"),
        ('{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {}}', "'ps'"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}', "has 1"),
    ],
)
def test_a_tf_config_that_makes_no_sense_is_reported_in_one_line(config, message):
    with pytest.raises(UserError, match=message) as raised:
        read_cluster({"TF_CONFIG": config})
    assert "\n" not in str(raised.value)


def test_one_device_by_default_and_the_line_says_why(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    placement = choose_strategy()
    assert placement.replicas == 1
    assert placement.why == "strategy: one CPU (0 GPUs, no cluster)"


def test_the_flag_overrides(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    placement = choose_strategy("mirrored")
    assert isinstance(placement.strategy, tf.distribute.MirroredStrategy)
    assert "--strategy asks for it" in placement.why


@pytest.mark.parametrize(("name", "message"), [("multi_worker", "TF_CONFIG"), ("tpu", "one of")])
def test_what_cannot_be_had_is_refused(monkeypatch, name, message):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(UserError, match=message):
        choose_strategy(name)
