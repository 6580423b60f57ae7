"""The manifest: by Kubernetes's own schemas, and by what our training makes of it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from model.training.strategy import read_cluster
from pipelines.options import train_options

MANIFEST = Path(__file__).resolve().parents[2] / "deploy/kubernetes/train.yaml"


@pytest.fixture(scope="module")
def parts():
    found = list(yaml.safe_load_all(MANIFEST.read_text(encoding="utf-8")))
    return {part["kind"]: part for part in found}


@pytest.fixture(scope="module")
def pod(parts):
    return parts["Job"]["spec"]["template"]


@pytest.fixture
def started(pod, tmp_path):
    """What a pod's shell starts, with an index: its environment and its arguments."""
    (container,) = pod["spec"]["containers"]
    fixed = {each["name"]: each["value"] for each in container["env"]}
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$$" "$TF_CONFIG" "$@"\n')
    python.chmod(0o755)

    def start(index, **environ):
        path = f"{tmp_path}:{os.environ['PATH']}"
        environ = {"PATH": path, **fixed, "JOB_COMPLETION_INDEX": str(index), **environ}
        process = subprocess.Popen(
            [*container["command"], *container["args"]],
            env=environ, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        out, _ = process.communicate(timeout=250)
        pid, config, *arguments = out.splitlines()
        assert process.returncode == 0
        return int(pid) == process.pid, config, arguments

    return start


@pytest.mark.parametrize("version", ["1.31", "1.37"])
def test_it_is_what_kubernetes_schemas_say(parts, version):
    assert sorted(parts) == ["Job", "Service"]
    for part in parts.values():
        kubernetes_validate.validate(part, version, strict=True)


def test_the_schemas_would_see_a_mistake(parts):
    wrong = {**parts["Job"], "spec": {**parts["Job"]["spec"], "completionsMode": "Indexed"}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.34", strict=True)


@pytest.mark.parametrize("workers", [1, 2, 11])
def test_our_training_reads_the_tf_config_of_every_pod(started, workers):
    for index in range(workers):
        _, config, _ = started(index, WORKERS=str(workers))
        cluster = read_cluster({"TF_CONFIG": config})
        assert (cluster.workers, cluster.index) == (workers, index)
        assert cluster.is_chief == (index == 0)
        hosts = yaml.safe_load(config)["cluster"]["worker"]
        assert hosts[index] == f"twinbeam-train-{index}.twinbeam-train:2222"


def test_the_names_in_it_are_those_that_kubernetes_gives(parts, pod):
    # An indexed Job's pod is called JOB-INDEX, and its name is JOB-INDEX.SUBDOMAIN in the
    # cluster where a headless service is called as the subdomain and selects the pod.
    job, service = parts["Job"], parts["Service"]
    assert job["metadata"]["name"] == service["metadata"]["name"] == "twinbeam-train"
    assert job["spec"]["completionMode"] == "Indexed"
    assert pod["spec"]["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    assert service["spec"]["ports"][0]["port"] == 2222


def test_every_worker_runs_at_once(parts, pod):
    spec = parts["Job"]["spec"]
    (workers,) = (e["value"] for e in pod["spec"]["containers"][0]["env"] if e["name"] == "WORKERS")
    assert spec["completions"] == spec["parallelism"] == int(workers)


def test_sigterm_reaches_training_and_it_has_time_to_save(started, pod):
    is_the_first_process, _, _ = started(0)
    assert is_the_first_process
    assert pod["spec"]["terminationGracePeriodSeconds"] >= 60


def test_a_gpu_is_asked_for(pod):
    assert pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] >= 1


def test_the_arguments_are_those_of_training(started):
    _, _, arguments = started(1)
    assert arguments[:2] == ["-m", "pipelines.train"]
    options = train_options.parse(arguments[2:])
    assert options.checkpoints and options.checkpoint_minutes == 5


def test_wrong_use_ends_the_job_and_a_lost_machine_does_not(parts):
    by_action = {rule["action"]: rule for rule in parts["Job"]["spec"]["podFailurePolicy"]["rules"]}
    assert by_action["FailJob"]["onExitCodes"]["values"] == [2]  # pipelines: unusable input
    assert by_action["Ignore"]["onPodConditions"] == [
        {"type": "DisruptionTarget", "status": "True"}
    ]
